"""Settings of the decoder, and the container's start."""

from __future__ import annotations

from pathlib import Path

import pytest

from parlante.errors import FailedPrecondition, InvalidInput
from parlante.settings import load
from parlante.triton.container import main
from parlante.triton.installation import repository_dir
from parlante.triton.server import MODEL_FLAGS
from parlante.triton.tuning import DecoderTuning, tuned_models


def config_of(models: Path) -> str:
    return (models / "decoder" / "config.pbtxt").read_text()


def test_defaults_change_nothing(tmp_path: Path) -> None:
    models = tuned_models(repository_dir(), tmp_path / "models", DecoderTuning())
    assert config_of(models) == config_of(repository_dir())
    assert (models / "avatar_store" / "1" / "model.py").is_file()


def test_what_is_not_asked_for_stays_as_the_repository_has_it(tmp_path: Path) -> None:
    own = DecoderTuning(decoder_processes=3, decoder_max_batch=16, decoder_threads=7)
    edited = tuned_models(repository_dir(), tmp_path / "edited", own)
    models = tuned_models(edited, tmp_path / "models", DecoderTuning(decoder_fuse=True))
    expected = config_of(edited).replace(
        '"FUSE" value { string_value: "0"', '"FUSE" value { string_value: "1"'
    )
    assert config_of(models) == expected != config_of(edited)


def test_all_settings_are_written(tmp_path: Path) -> None:
    env = {
        "PARLANTE_DECODER_PROCESSES": "4",
        "PARLANTE_DECODER_MAX_BATCH": "32",
        "PARLANTE_DECODER_FUSE": "1",
        "PARLANTE_DECODER_THREADS": "2",
    }
    tuning = load(DecoderTuning, [], env=env)
    text = config_of(tuned_models(repository_dir(), tmp_path / "models", tuning))
    assert "instance_group [ { count: 4 } ]" in text
    assert "max_batch_size: 32" in text
    assert text.count("batch_size: 32") == 2
    assert '"FUSE" value { string_value: "1" }' in text
    assert '"DECODE_THREADS" value { string_value: "2" }' in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("decoder_processes", 0), ("decoder_processes", 16), ("decoder_max_batch", 0)),
        *(("decoder_max_batch", 65), ("decoder_threads", -1), ("decoder_threads", 65)),
    ],
)
def test_settings_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(InvalidInput, match=f"{name} must be .* got {value}"):
        DecoderTuning(**{name: value})


def test_models_that_are_not_known_are_not_guessed_at(tmp_path: Path) -> None:
    decoder = tmp_path / "source" / "decoder"
    decoder.mkdir(parents=True)
    (decoder / "config.pbtxt").write_text('name: "decoder"\n')
    with pytest.raises(FailedPrecondition) as caught:
        tuned_models(tmp_path / "source", tmp_path / "models", DecoderTuning(decoder_processes=2))
    assert caught.value.reason == "UNKNOWN_MODELS"


def test_the_container_becomes_the_server_on_tuned_models() -> None:
    became: list[tuple[str, list[str]]] = []
    env = {"PARLANTE_DECODER_PROCESSES": "3"}
    main(["--http-address=127.0.0.1"], env=env, become=lambda *args: became.append(args))
    ((program, arguments),) = became
    models = Path(arguments[1].removeprefix("--model-repository="))
    assert program == arguments[0] == "tritonserver"
    assert arguments[2:] == [*MODEL_FLAGS, "--http-address=127.0.0.1"]
    assert "count: 3" in config_of(models)


def test_a_bad_setting_ends_the_container_with_a_message(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([], env={"PARLANTE_DECODER_PROCESSES": "many"}, become=lambda *_: None) == 1
    assert "many" in capsys.readouterr().err
