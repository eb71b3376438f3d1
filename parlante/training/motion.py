"""Train the motion model: ``python -m parlante.training.motion --config FILE --out FOLDER``."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch

from parlante.models.motion_dit import MotionDiTConfig
from parlante.models.motion_weights import load_weights
from parlante.models.speech_encoder import SpeechEncoderConfig
from parlante.training.corpus import Aligner, CorpusConfig, join, load_or_make
from parlante.training.device import AUTO, FUSE_MODES, Hardware
from parlante.training.loop import TrainingConfig, train


def read_config(path: Path) -> TrainingConfig:
    """Read a run's config from JSON: the fields of `TrainingConfig`, nested."""
    return config_of(json.loads(path.read_text(encoding="utf-8")))


def config_of(fields: dict[str, Any]) -> TrainingConfig:
    """Build a config from the fields of `TrainingConfig`, nested; takes them out of `fields`."""
    corpora = tuple(CorpusConfig(**corpus) for corpus in fields.pop("corpora", [{}]))
    model = MotionDiTConfig(**fields.pop("model", {}))
    speech = fields.pop("speech_encoder", None)
    speech_encoder = None if speech is None else SpeechEncoderConfig(**speech)
    return TrainingConfig(corpora=corpora, model=model, speech_encoder=speech_encoder, **fields)


def main(argv: list[str] | None = None) -> None:
    """Run training from the command line."""
    parser = argparse.ArgumentParser(description="Train the motion model on synthetic speech.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file of the run")
    parser.add_argument("--out", type=Path, required=True, help="folder; resumed if it has a run")
    parser.add_argument("--start", type=Path, help="weights to begin with; default random")
    parser.add_argument("--align-with", type=Path, help="weights that hear where phonemes are")
    parser.add_argument("--corpus-cache", type=Path, default=Path(".cache/corpus"))
    parser.add_argument("--num-threads", type=int, default=1)
    parser.add_argument("--device", default=AUTO, help="auto, cpu or cuda[:N]")
    parser.add_argument("--num-workers", type=int, help="processes that draw batches ahead")
    parser.add_argument("--fuse", choices=FUSE_MODES, default=FUSE_MODES[0])
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.num_threads)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = read_config(arguments.config)
    path = train_on_speech(
        config,
        arguments.out,
        arguments.start,
        arguments.corpus_cache,
        arguments.align_with,
        Hardware.choose(arguments.device, arguments.num_workers, arguments.fuse),
    )
    logging.getLogger(__name__).info("weights in %s", path)


def train_on_speech(
    config: TrainingConfig,
    out: Path,
    start: Path | None,
    corpus_cache: Path,
    align_with: Path | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Make the corpora that are not in the cache, and train on them; gives the weights' path.

    Args:
        config: The run.
        out: Folder of the run.
        start: Weights to begin with.
        corpus_cache: Folder of all corpora.
        align_with: Weights that hear where phonemes are, for corpora with `realign`.
        hardware: What it trains on; None takes the CPU.
    """
    encoder = config.load_speech_encoder()
    aligner = None if align_with is None else Aligner(*load_weights(align_with))
    corpus = join([load_or_make(part, corpus_cache, encoder, aligner) for part in config.corpora])
    return train(config, corpus, out, start, encoder, hardware)


if __name__ == "__main__":
    main()
