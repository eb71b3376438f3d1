"""Pictures of a judgement: curves over time, sync, head, and frames at phones."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parlante.evaluation.clip import read_frames
from parlante.evaluation.lips import shut_below
from parlante.evaluation.motion import Judgement
from parlante.evaluation.phones import BILABIALS
from parlante.evaluation.report import write_json, write_markdown
from parlante.evaluation.sync import MAX_LAG_FRAMES, SYNC_MEASURES, measured_mouth
from parlante.evaluation.tracking import FloatArray
from parlante.types import FRAME_RATE_HZ, Uint8Array

__all__ = ["write_report"]

_ROW_S: Final = 7.0
_MAX_ROWS: Final = 12  # 84 s; longer videos are drawn to there
_SHEET_COLUMNS: Final = 8
_SHEET_TILES: Final = 32
_FACE_IOD: Final = 3.0  # side of a tile
_APERTURE, _WIDTH, _SHUT, _OPEN = "#1f4e9c", "#c2571a", "#2a8a3e", "#c0202a"
_MEASURE_COLOURS: Final = dict(
    zip(SYNC_MEASURES, (_APERTURE, _WIDTH, "#6a3d9a", "#555555"), strict=True)
)


def write_report(judgements: list[Judgement], report: dict[str, Any], folder: Path) -> Path:
    """Write report.json, report.md and all pictures into a folder; gives the page's path."""
    page = folder / "report.md"
    write_json(report, folder / "report.json")
    write_markdown(report, page, _draw_all(judgements, report, folder))
    return page


def _draw_all(judgements: list[Judgement], report: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures of all videos; gives their paths."""
    pictures = [_save(_overview(report), folder / "overview.png")]
    for judgement in judgements:
        name = Path(judgement.name).stem
        pictures += [
            _save(_lips(judgement), folder / f"{name}_lips.png"),
            _save(_sync(judgement), folder / f"{name}_sync.png"),
            _save(_head(judgement), folder / f"{name}_head.png"),
        ]
        if judgement.path.is_file():  # frames that were judged as they were made are gone
            pictures.append(_save(_sheet(judgement), folder / f"{name}_sheet.png"))
    return pictures


def _save(figure: Figure, path: Path) -> Path:
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=100)
    return path


def _overview(report: dict[str, Any]) -> Figure:
    """Each measure within its range, 0 to 1; values far outside stand at the edge."""
    rows = [row for row in report["table"] if row["verdict"]]
    figure = Figure(figsize=(10, 0.36 * max(len(rows), 1) + 1.3), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(0.0, 1.0, color="#e4efe4", zorder=0)
    for index, row in enumerate(rows):
        place = _Scale(row)
        for key, marker, colour in (("vasa", "s", "#888888"), ("people", "D", "#b8a040")):
            if row[key] is not None:
                axes.plot(place(row[key]), index, marker, color=colour, markersize=6)
        colour = _SHUT if row["verdict"] == "inside" else _OPEN
        axes.plot(place(row["value"]), index, "o", color=colour, markersize=9)
        text = f"{row['value']:.{row['decimals']}f}"
        axes.annotate(text, (1.78, index), va="center", ha="right", fontsize=9, color=colour)
    axes.set_yticks(range(len(rows)), [row["label"] for row in rows], fontsize=9)
    axes.set_xlim(-0.8, 1.8)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xticks([0.0, 1.0], ["low end", "high end"])
    axes.set_title(
        "within the range of people (green band); circle: here, square: VASA-1, diamond: people",
        fontsize=10,
    )
    return figure


class _Scale:
    """Maps the range of a row to 0..1; a range with one end gets a width of its own."""

    def __init__(self, row: dict[str, Any]) -> None:
        low, high = row["low"], row["high"]
        self._low = low if low is not None else 0.0
        self._high = high if high is not None else 1.0

    def __call__(self, value: float) -> float:
        place = (value - self._low) / (self._high - self._low)
        return float(np.clip(place, -0.75, 1.45))


def _lips(judgement: Judgement) -> Figure:
    """Aperture and width over time, with phones; closures green, failed ones red."""
    curves = judgement.curves
    num_rows = min(_MAX_ROWS, int(np.ceil(curves.seconds / _ROW_S)))
    figure = Figure(figsize=(17, 2.5 * num_rows + 0.8), layout="constrained")
    rows = figure.subplots(num_rows, 1, squeeze=False)[:, 0]
    time_s = np.arange(curves.num_frames) / FRAME_RATE_HZ
    limit = shut_below(curves.aperture)
    top = max(float(curves.aperture.max()) * 1.35, 3 * limit)
    for index, axes in enumerate(rows):
        start_s = index * _ROW_S
        for from_s, to_s in judgement.activity.pauses():
            axes.axvspan(from_s, to_s, color="#eeeeee", zorder=0)
        _draw_phones(axes, judgement, start_s, top)
        axes.fill_between(time_s, curves.aperture, color=_APERTURE, alpha=0.18)
        axes.plot(time_s, curves.aperture, color=_APERTURE, lw=1.3, marker=".", ms=4)
        axes.axhline(limit, color=_SHUT, lw=0.8, ls="--")
        axes.set_ylim(0.0, top)
        axes.set_xlim(start_s, start_s + _ROW_S)
        axes.set_ylabel("aperture, IOD", color=_APERTURE)
        right = axes.twinx()
        right.plot(time_s, curves.mouth_width, color=_WIDTH, lw=1.0)
        middle = float(np.median(curves.mouth_width))
        right.set_ylim(middle - 0.25, middle + 0.15)
        right.set_ylabel("width, IOD", color=_WIDTH)
    rows[-1].set_xlabel("time, s")
    figure.suptitle(
        f"{judgement.name}: lips; P/B/M green = shut (below the dashed line), red = not; "
        "grey = no speech",
        fontsize=11,
    )
    return figure


def _draw_phones(axes: Axes, judgement: Judgement, start_s: float, top: float) -> None:
    """Write the phones of one row along its upper edge, P, B and M over a coloured span."""
    shut_at = {closure.start_s: closure.shut for closure in judgement.closures}
    for number, phone in enumerate(judgement.spoken.phones):
        middle_s = (phone.start_s + phone.end_s) / 2
        if phone.is_silence or not start_s <= middle_s < start_s + _ROW_S:
            continue
        colour, weight = "#777777", "normal"
        if phone.symbol in BILABIALS:
            colour = _SHUT if shut_at.get(phone.start_s, False) else _OPEN
            weight = "bold"
            axes.axvspan(phone.start_s, phone.end_s, color=colour, alpha=0.22, zorder=1)
        height = top * (0.985 - 0.075 * (number % 2))  # neighbours would overlap
        axes.text(
            *(middle_s, height, phone.symbol),
            ha="center",
            va="top",
            fontsize=8,
            color=colour,
            weight=weight,
        )


def _sync(judgement: Judgement) -> Figure:
    """Expected and seen mouth over time, and correlation over lag."""
    figure = Figure(figsize=(15, 8.5), layout="constrained")
    grid = figure.add_gridspec(4, 2, width_ratios=(3, 1.3))
    seen = measured_mouth(judgement.curves)
    time_s = np.arange(len(seen)) / FRAME_RATE_HZ
    for index, name in enumerate(SYNC_MEASURES):
        axes = figure.add_subplot(grid[index, 0])
        expected = judgement.predicted[:, index]
        axes.plot(time_s, seen[:, index], color="#222222", lw=1.0, label="seen")
        axes.plot(time_s, expected, color=_MEASURE_COLOURS[name], lw=1.4, label="expected")
        axes.set_xlim(0.0, min(time_s[-1], 14.0))
        axes.set_ylabel(name.replace("_", " "))
        axes.grid(alpha=0.3)
        if index == 0:
            axes.legend(loc="upper right", ncols=2, fontsize=8)
    axes.set_xlabel("time, s")
    axes = figure.add_subplot(grid[:, 1])
    lag_ms = np.arange(-MAX_LAG_FRAMES, MAX_LAG_FRAMES + 1) * 1000 / FRAME_RATE_HZ
    for name, score in judgement.sync.items():
        text = f"{name.replace('_', ' ')}: {score.correlation:.2f}"
        text += "" if score.lag_ms is None else f", top {score.peak:.2f} at {score.lag_ms:+.0f} ms"
        colour = _MEASURE_COLOURS[name]
        axes.plot(lag_ms, judgement.lag_curves[name], color=colour, marker=".", label=text)
    spread = [s.wrong_audio_std for s in judgement.sync.values() if s.wrong_audio_std is not None]
    if spread:
        axes.axhspan(-2 * max(spread), 2 * max(spread), color="#dddddd", zorder=0)
    axes.axvline(0.0, color="#222222", lw=0.8)
    axes.set_ylim(-0.5, 1.0)
    axes.set_xlabel("lag, ms; right: the face is late\ngrey: 2 deviations of wrong audio")
    axes.set_ylabel("correlation")
    axes.legend(loc="upper center", fontsize=8)
    axes.grid(alpha=0.3)
    figure.suptitle(f"{judgement.name}: the mouth that the sound lets one expect", fontsize=11)
    return figure


def _head(judgement: Judgement) -> Figure:
    """Angles, gaze and lids over time, and the spectrum of the head's motion."""
    curves = judgement.curves
    time_s = np.arange(curves.num_frames) / FRAME_RATE_HZ
    figure = Figure(figsize=(15, 7.5), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(3, 1))
    head, gaze, lids = (figure.add_subplot(grid[row, 0]) for row in range(3))
    for name, colour in (("yaw", _APERTURE), ("pitch", _WIDTH), ("roll", "#2a8a3e")):
        values = getattr(curves, f"{name}_deg")
        head.plot(time_s, values, color=colour, lw=1.2, label=f"{name}, std {values.std():.1f}")
        frequencies, power = _spectrum(values)
        axes = figure.axes[3] if len(figure.axes) > 3 else figure.add_subplot(grid[:, 1])
        axes.loglog(frequencies, power, color=colour, label=name)
    axes.set_xticks([0.25, 0.5, 1, 2, 5, 10], ["0.25", "0.5", "1", "2", "5", "10"])
    axes.set_xlabel("Hz")
    axes.set_ylabel("power of the angle, degrees² per Hz")
    axes.set_title("spectrum", fontsize=10)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    head.set_ylabel("head, degrees")
    gaze.plot(time_s, curves.gaze_yaw_deg, color=_APERTURE, lw=1.0, label="gaze yaw")
    gaze.plot(time_s, curves.gaze_pitch_deg, color=_WIDTH, lw=1.0, label="gaze pitch")
    gaze.set_ylabel("eye in head, degrees")
    lids.plot(time_s, curves.eye_ratio, color="#555555", lw=1.0, label="lid opening / eye width")
    lids.axhline(0.6 * np.median(curves.eye_ratio), color=_OPEN, lw=0.8, ls="--", label="blink")
    lids.plot(time_s, curves.brow_height, color="#6a3d9a", lw=1.0, label="brow height, IOD")
    lids.set_ylim(0.0, 1.35 * float(curves.eye_ratio.max()))
    lids.set_xlabel("time, s")
    for axes in (head, gaze):
        axes.margins(y=0.25)  # room for the legend
    for axes in (head, gaze, lids):
        axes.set_xlim(0.0, time_s[-1])
        axes.grid(alpha=0.3)
        axes.legend(loc="upper right", fontsize=8, ncols=3)
    figure.suptitle(f"{judgement.name}: head, gaze, lids and brows", fontsize=11)
    return figure


def _spectrum(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Power per Hz in pieces of 4 s that overlap by half, without the lowest line."""
    length = min(len(values), 4 * FRAME_RATE_HZ)
    window = np.hanning(length)
    starts = range(0, len(values) - length + 1, max(1, length // 2))
    pieces = np.stack([values[s : s + length] - values[s : s + length].mean() for s in starts])
    power = (np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2).mean(axis=0)
    frequencies = np.fft.rfftfreq(length, 1 / FRAME_RATE_HZ)
    density = 2.0 * power[1:] / (FRAME_RATE_HZ * np.square(window).sum()) + 1e-9
    return np.asarray(frequencies[1:], np.float64), np.asarray(density, np.float64)


def _sheet(judgement: Judgement) -> Figure:
    """Frames at phones: P, B and M where the lips are closest, others at their middle."""
    marks = _marks(judgement)
    pictures = _pictures(judgement.path, [mark[0] for mark in marks])
    num_rows = max(1, int(np.ceil(len(marks) / _SHEET_COLUMNS)))
    figure = Figure(figsize=(2.2 * _SHEET_COLUMNS, 2.42 * num_rows), layout="constrained")
    tiles = figure.subplots(num_rows, _SHEET_COLUMNS, squeeze=False).ravel()
    for axes in tiles:
        axes.set_axis_off()
    for axes, (time_s, text, colour), picture in zip(tiles, marks, pictures, strict=False):
        axes.imshow(_face_of(picture, judgement, time_s))
        axes.set_title(text, fontsize=9, color=colour, pad=2)
    return figure


def _face_of(picture: Uint8Array, judgement: Judgement, time_s: float) -> Uint8Array:
    """Cut the face out, upright square, not larger than a tile needs."""
    curves = judgement.curves
    at = min(round(time_s * FRAME_RATE_HZ), curves.num_frames - 1)
    half = max(8, int(_FACE_IOD / 2 * curves.iod_px[at]))
    x, y = int(curves.x_px[at]), int(curves.y_px[at] + 0.4 * curves.iod_px[at])
    padded = np.pad(picture, ((half, half), (half, half), (0, 0)))
    height, width = picture.shape[:2]
    top, left = int(np.clip(y, 0, height)), int(np.clip(x, 0, width))
    step = max(1, half // 160)
    return padded[top : top + 2 * half : step, left : left + 2 * half : step]


def _marks(judgement: Judgement) -> list[tuple[float, str, str]]:
    """Time, text and colour of each tile, in order of time."""
    curves = judgement.curves
    shut_at = {closure.start_s: closure.shut for closure in judgement.closures}
    bilabials, others = [], []
    for phone in judgement.spoken.phones:
        if phone.is_silence or phone.end_s > curves.seconds:
            continue
        middle_s = (phone.start_s + phone.end_s) / 2
        if phone.start_s in shut_at and phone.symbol in BILABIALS:
            first = max(0, int((phone.start_s - 0.04) * FRAME_RATE_HZ))
            last = max(first + 1, int(np.ceil(phone.end_s * FRAME_RATE_HZ)))
            at = first + int(np.argmin(curves.aperture[first:last]))
            text = f"{phone.symbol}  {phone.start_s:.2f} s  {curves.aperture[at]:.3f}"
            colour = _SHUT if shut_at[phone.start_s] else _OPEN
            bilabials.append((at / FRAME_RATE_HZ, text, colour))
        else:
            others.append((middle_s, f"{phone.symbol}  {phone.start_s:.2f} s", "#222222"))
    if not bilabials and not others:
        times = np.arange(curves.num_frames) / FRAME_RATE_HZ
        others = [(float(t), f"{t:.2f} s", "#222222") for t in times]
    kept = _evenly(bilabials, _SHEET_TILES // 2)
    return sorted(kept + _evenly(others, _SHEET_TILES - len(kept)))


def _evenly(marks: list[tuple[float, str, str]], num_wanted: int) -> list[tuple[float, str, str]]:
    if len(marks) <= num_wanted:
        return marks
    return [marks[i] for i in np.linspace(0, len(marks) - 1, num_wanted).astype(int)]


def _pictures(path: Path, times_s: list[float]) -> list[Uint8Array]:
    """The first picture at or after each of the times, which rise."""
    pictures: list[Uint8Array] = []
    for frame in read_frames(path):
        while len(pictures) < len(times_s) and frame.time_s >= times_s[len(pictures)] - 0.02:
            pictures.append(frame.rgb)
        if len(pictures) == len(times_s):
            break
    return pictures
