"""Makes data sets: subjects one after another or in several processes, each into its own file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple, Self

from parlante.errors import InvalidInput
from parlante.synth.assets import load_pack
from parlante.synth.dataset import FORMAT_VERSION, INDEX_FILE, write_subject
from parlante.synth.generator import SynthOptions, Timer, render_subject
from parlante.synth.gl import open_context
from parlante.synth.landmarks import LandmarkMap
from parlante.synth.processes import spread
from parlante.synth.renderer import Renderer
from parlante.synth.subject import Studio

__all__ = ["SynthReport", "make_dataset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthReport:
    """What was made.

    Attributes:
        num_made: Subjects that were made now.
        num_kept: Subjects whose files were there already.
        num_frames: Frames that were made now.
        seconds: Time for them, all steps.
        cpu_seconds: Processor time for them, over all processes and threads that drew.
        step_ms: Time per frame by step.
        device: What drew them; empty when nothing was made.
    """

    num_made: int
    num_kept: int
    num_frames: int
    seconds: float
    cpu_seconds: float
    step_ms: Mapping[str, float]
    device: str

    @property
    def frames_per_second(self) -> float:
        """Rate of all processes together; 0 when nothing was made."""
        return self.num_frames / self.seconds if self.num_frames else 0.0

    @property
    def frames_per_core_second(self) -> float:
        """Rate on one core that does nothing else; 0 when nothing was made."""
        return self.num_frames / self.cpu_seconds if self.num_frames else 0.0


def make_dataset(
    studio: Studio,
    folder: Path,
    options: SynthOptions,
    *,
    num_processes: int = 1,
    progress: Callable[[int], object] = lambda number: None,
) -> SynthReport:
    """Make a data set, or the rest of one that was cut off.

    What a subject looks like follows from its number alone, whichever process draws it.

    Args:
        studio: The pack, prepared.
        folder: Where; made if it is not there.
        options: What to make.
        num_processes: That draw at once, each with its own OpenGL; 1 draws in this one.
        progress: Called with the number of each subject after it; what it raises ends the work.

    Raises:
        InvalidInput: The folder holds a data set with other options.
    """
    _claim_folder(folder, options)
    missing = [n for n in range(options.num_subjects) if not _subject_path(folder, n).exists()]
    start = time.perf_counter()
    made: list[_Made] = []

    def done(subject: _Made) -> None:
        made.append(subject)
        progress(subject.number)

    if num_processes == 1:
        with _Drawer(studio, folder, options) as drawer:
            for number in missing:
                done(drawer.draw(number))
    else:
        open_context().release()  # where none can be started, that is said here
        spread(
            missing,
            make_worker=_make_worker,
            given=(studio.pack.directory, studio.landmarks, folder, options),
            num_processes=num_processes,
            done=done,
        )
    num_frames = len(made) * options.frames_per_subject
    steps: dict[str, float] = {}
    for subject in made:
        for name, seconds in subject.step_seconds.items():
            steps[name] = steps.get(name, 0.0) + seconds
    return SynthReport(
        num_made=len(made),
        num_kept=options.num_subjects - len(made),
        num_frames=num_frames,
        seconds=time.perf_counter() - start,
        cpu_seconds=sum(subject.cpu_seconds for subject in made),
        step_ms={
            name: round(1000.0 * seconds / max(num_frames, 1), 2) for name, seconds in steps.items()
        },
        device=made[0].device if made else "",
    )


def _subject_path(folder: Path, number: int) -> Path:
    return folder / f"subject-{number:05d}.npz"


class _Made(NamedTuple):
    """What it took to make a subject."""

    number: int
    device: str
    cpu_seconds: float
    step_seconds: Mapping[str, float]


class _Drawer:
    """Makes subjects by number, one after the other."""

    def __init__(self, studio: Studio, folder: Path, options: SynthOptions) -> None:
        self._studio, self._folder, self._options = studio, folder, options
        self._renderer = Renderer(studio.pack, size_px=options.size_px)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._renderer.close()

    def draw(self, number: int) -> _Made:
        """Make a subject and write its file."""
        timer, start = Timer(), time.process_time()
        arrays = render_subject(self._studio, self._renderer, self._options, number, timer=timer)
        with timer.step("write"):
            write_subject(_subject_path(self._folder, number), arrays)
        seconds = time.process_time() - start
        return _Made(number, self._renderer.device, seconds, timer.seconds)


def _make_worker(given: tuple[Path, LandmarkMap, Path, SynthOptions]) -> Callable[[int], _Made]:
    directory, landmarks, folder, options = given
    return _Drawer(Studio.of(load_pack(directory), landmarks), folder, options).draw


def _claim_folder(folder: Path, options: SynthOptions) -> None:
    """Write ``dataset.json``, or see that it is the same; only the number may grow."""
    info = {"version": FORMAT_VERSION, **asdict(options)}
    path = folder / INDEX_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            there = json.loads(path.read_text("utf-8"))
            if {**there, "num_subjects": 0} != {**info, "num_subjects": 0}:
                raise InvalidInput(
                    f"{folder} holds a data set with other options; give another --output, or "
                    "the same --seed, --size and --frames-per-subject",
                    reason="OTHER_DATASET",
                    field="output",
                )
        path.write_text(json.dumps(info, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InvalidInput(
            f"cannot write to {folder} ({error.strerror}); give another --output",
            reason="OUTPUT_FOLDER_MISSING",
            field="output",
        ) from error
