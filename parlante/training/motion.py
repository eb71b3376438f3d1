"""Train the motion model: ``python -m parlante.training.motion --config FILE --out FOLDER``."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch

from parlante.models.motion_dit import MotionDiTConfig
from parlante.training.corpus import CorpusConfig, join, load_or_make
from parlante.training.loop import TrainingConfig, train


def read_config(path: Path) -> TrainingConfig:
    """Read a run's config from JSON: the fields of `TrainingConfig`, nested."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    corpora = tuple(CorpusConfig(**corpus) for corpus in fields.pop("corpora", [{}]))
    model = MotionDiTConfig(**fields.pop("model", {}))
    return TrainingConfig(corpora=corpora, model=model, **fields)


def main(argv: list[str] | None = None) -> None:
    """Run training from the command line."""
    parser = argparse.ArgumentParser(description="Train the motion model on synthetic speech.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder; resumed if it has a run")
    parser.add_argument("--start", type=Path, help="weights to begin with; default random")
    parser.add_argument("--corpus-cache", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--num-threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.num_threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = read_config(arguments.config)
    corpus = join([load_or_make(part, arguments.corpus_cache) for part in config.corpora])
    path = train(config, corpus, arguments.out, arguments.start)
    logging.getLogger(__name__).info("weights in %s", path)


if __name__ == "__main__":
    main()
