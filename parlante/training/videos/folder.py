"""A folder of videos -> shards and a manifest; bad videos are passed over with a reason."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from parlante.errors import InvalidInput
from parlante.media.video_file import VIDEO_SUFFIXES, Picture, read_pictures, read_sound
from parlante.training.videos.cleaning import Loss, Segment, cut_segments
from parlante.training.videos.clips import Clips, Scene, assemble
from parlante.training.videos.following import FaceSource, follow
from parlante.training.videos.performance import perform
from parlante.training.videos.shards import Report, find_report, shard_key, write_shard
from parlante.training.videos.synchrony import LipReader, Synchrony, compare, shift
from parlante.types import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Float32Array

__all__ = ["Manifest", "find_videos", "prepare_folder", "prepare_video"]

logger = logging.getLogger(__name__)

STRANGE_VOICE: Final = "another's voice"
NO_SOUND_THERE: Final = "sound ended before"
SHARDS: Final = "shards"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """All videos of a folder, in the order of their names, and where their shards lie."""

    shards: Path
    reports: tuple[Report, ...]

    @property
    def usable(self) -> tuple[Report, ...]:
        """Videos of which something is used, each content once."""
        seen: set[str] = set()
        found = []
        for report in self.reports:
            if report.num_clips and report.key not in seen:
                seen.add(report.key)
                found.append(report)
        return tuple(found)

    def path_of(self, report: Report) -> Path:
        """Path of a video's shard."""
        return self.shards / f"{report.key}.npz"

    def summary(self) -> str:
        """What was kept of all videos, and why the rest was not."""
        total = sum(report.seconds for report in self.reports)
        kept = sum(report.kept_seconds for report in self.usable)
        lines = [
            f"{len(self.usable)} of {len(self.reports)} videos usable, "
            f"{kept / 60:.1f} of {total / 60:.1f} minutes kept"
        ]
        lost = _seconds_by_reason(loss for report in self.reports for loss in report.losses)
        if lost:
            parts = (f"{reason} {seconds:.1f} s" for reason, seconds in lost.items())
            lines.append(f"left out: {', '.join(parts)}")
        return "\n".join(lines)


def _line(report: Report) -> str:
    if report.skipped:
        return f"{report.file}: skipped: {report.skipped}"
    parts = "1 part" if len(report.kept) == 1 else f"{len(report.kept)} parts"
    line = f"{report.file}: {report.kept_seconds:.1f} of {report.seconds:.1f} s in {parts}"
    if report.lip_correlation is not None:
        line += f", lips and sound {report.lip_correlation:.2f}"
    if report.offset_ms:
        line += f", sound moved by {-report.offset_ms:+.0f} ms"
    elif not report.offset_is_clear:
        line += ", offset unclear"
    return line


def find_videos(folder: Path) -> list[Path]:
    """Find all videos in a folder and its folders.

    Raises:
        InvalidInput: FOLDER_NOT_FOUND or NO_VIDEOS.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"no folder at {folder}; name the folder that holds the videos",
            reason="FOLDER_NOT_FOUND",
            field="videos",
        )
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        kinds = Counter(path.suffix.lower() or "no suffix" for path in files)
        found = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(5)) or "nothing"
        raise InvalidInput(
            f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)}); found {found}",
            reason="NO_VIDEOS",
            field="videos",
        )
    return videos


def prepare_folder(
    folder: Path,
    out: Path,
    faces: FaceSource,
    reader: LipReader,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> Manifest:
    """Measure every video of a folder that was not measured before.

    Args:
        folder: Searched with all folders in it.
        out: Where shards and the manifest go.
        faces: Tracker.
        reader: Reads lips from sound.
        tell: Called with a line per video.

    Raises:
        InvalidInput: There are no videos, or none can be used.
    """
    videos = find_videos(folder)
    out.mkdir(parents=True, exist_ok=True)
    shards = out / SHARDS
    reports = []
    for index, path in enumerate(videos):
        name = str(path.relative_to(folder))
        report = _prepare_once(path, name, shards, faces, reader)
        reports.append(report)
        tell(f"[{index + 1}/{len(videos)}] {_line(report)}")
    manifest = Manifest(shards=shards, reports=tuple(reports))
    _write_manifest(manifest, folder, out)
    if not manifest.usable:
        raise InvalidInput(
            f"none of the {len(videos)} videos in {folder} can be trained on: {_why_none(reports)}",
            reason="NO_USABLE_VIDEO",
            field="videos",
        )
    return manifest


def _prepare_once(
    path: Path, name: str, shards: Path, faces: FaceSource, reader: LipReader
) -> Report:
    """The report of a video, out of its shard if there is one; never raises for a bad video."""
    try:
        key = shard_key(path)
        if (stored := find_report(shards, key)) is not None:
            return replace(stored, file=name)
        report, clips = prepare_video(path, faces, reader)
    except InvalidInput as error:
        why = error.message.removeprefix(f"{path.name} ")
        report, clips = Report(file=name, key=key, skipped=why), None
    except OSError as error:
        return Report(file=name, key="", skipped=f"cannot be read ({error.strerror or error})")
    except Exception as error:  # one odd video must not end a run of a thousand
        logger.exception("video could not be prepared", extra={"video": name})
        return Report(file=name, key="", skipped=f"could not be prepared ({type(error).__name__})")
    report = replace(report, file=name, key=key)
    write_shard(shards, report, clips)
    return report


def prepare_video(path: Path, faces: FaceSource, reader: LipReader) -> tuple[Report, Clips | None]:
    """Measure one video.

    Returns:
        What became of it (without a key), and its clips if there are any.

    Raises:
        InvalidInput: It cannot be read, or has no pictures or no sound.
    """
    audio = read_sound(path)
    clock = _Clock()
    segments, losses = cut_segments(follow(faces, clock.watch(read_pictures(path))))
    segments, unheard = _heard(segments, len(audio) // SAMPLES_PER_FRAME)
    synchrony = compare(segments, reader(audio)) if segments else None
    segments, strange = _spoken(segments, synchrony)
    losses = sorted([*losses, *unheard, *strange], key=lambda loss: loss.start_s)
    report = Report(
        file=path.name,
        key="",
        skipped="" if segments else _why_nothing(losses),
        seconds=clock.seconds,
        kept=tuple((s.start_frame / FRAME_RATE_HZ, s.end_frame / FRAME_RATE_HZ) for s in segments),
        losses=tuple(losses),
    )
    if synchrony is None:
        return report, None
    report = replace(
        report,
        offset_ms=synchrony.offset_ms,
        lip_correlation=synchrony.correlation,
        offset_is_clear=synchrony.is_clear,
    )
    if not segments:
        return report, None
    moved = shift(audio, synchrony.offset_ms)
    clips = assemble([Scene(perform(s), _sound_of(s, moved)) for s in segments])
    return replace(report, num_clips=clips.num_clips), clips


class _Clock:
    """Notes how long the pictures last while they go by."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, pictures: Iterable[Picture]) -> Iterable[Picture]:
        for picture in pictures:
            self.seconds = picture.time_s + 1.0 / FRAME_RATE_HZ
            yield picture


def _heard(segments: list[Segment], num_frames: int) -> tuple[list[Segment], list[Loss]]:
    """Leave out segments beyond the end of the sound."""
    losses = [
        _loss(segment, NO_SOUND_THERE)
        for segment in segments
        if segment.end_frame > num_frames + 25
    ]
    return [segment for segment in segments if segment.end_frame <= num_frames + 25], losses


def _spoken(
    segments: list[Segment], synchrony: Synchrony | None
) -> tuple[list[Segment], list[Loss]]:
    """Leave out segments whose face does not speak what is heard."""
    if synchrony is None:
        return segments, []
    strange = [synchrony.is_strange(index, segment) for index, segment in enumerate(segments)]
    kept = [segment for segment, odd in zip(segments, strange, strict=True) if not odd]
    losses = [
        _loss(segment, STRANGE_VOICE) for segment, odd in zip(segments, strange, strict=True) if odd
    ]
    return kept, losses


def _sound_of(segment: Segment, audio: Float32Array) -> Float32Array:
    start, end = segment.start_frame * SAMPLES_PER_FRAME, segment.end_frame * SAMPLES_PER_FRAME
    sound = audio[start:end]
    return np.pad(sound, (0, end - start - len(sound)))


def _loss(segment: Segment, reason: str) -> Loss:
    start, end = segment.start_frame, segment.end_frame
    return Loss(start_s=start / FRAME_RATE_HZ, end_s=end / FRAME_RATE_HZ, reason=reason)


def _seconds_by_reason(losses: Iterable[Loss]) -> dict[str, float]:
    """How much was lost for each reason, most first."""
    seconds: dict[str, float] = {}
    for loss in losses:
        seconds[loss.reason] = seconds.get(loss.reason, 0.0) + loss.end_s - loss.start_s
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _why_nothing(losses: Iterable[Loss]) -> str:
    lost = _seconds_by_reason(losses)
    return f"{next(iter(lost))} throughout" if lost else "no pictures"


def _why_none(reports: list[Report]) -> str:
    counts = Counter(report.skipped for report in reports)
    return "; ".join(f"{count} x {reason}" for reason, count in counts.most_common(5))


def _write_manifest(manifest: Manifest, folder: Path, out: Path) -> None:
    content = {
        "folder": str(folder),
        "usable": len(manifest.usable),
        "kept_seconds": round(sum(report.kept_seconds for report in manifest.usable), 2),
        "videos": [report.to_json() for report in manifest.reports],
    }
    part = out / f".{MANIFEST}.part"
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    part.replace(out / MANIFEST)
