"""Time and memory of a training step as a function of its size.

    python -m benchmarks.scaling --out results/benchmarks/scaling.jsonl
    python -m benchmarks.scaling --table results/benchmarks/scaling.jsonl

One of these is varied at a time: seeds, batch, image size, width and, if there are
several, devices. Each point is a row. A CPU can simulate several devices
(XLA_FLAGS=--xla_force_host_platform_device_count=8). They share its cores, so that
their memory is meaningful and their time is not.

`--table` prints the rows as Markdown, with an extrapolation to larger values by a
straight line through them: `a + b x` in seeds, batch, pixels (size squared) and, for
width, in x for memory and x squared for time.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import ours, report, setting
from benchmarks.setting import Setting
from symjax import io, mesh
from symjax.formatting import markdown

AXES = ("seeds", "batch_size", "size", "width", "devices")
POINTS: dict[str, tuple[float, ...]] = {
    "seeds": (1, 2, 4),
    "batch_size": (32, 64, 128),
    "size": (16, 32, 48),
    "width": (0.25, 0.5, 1.0),
    "devices": (1, 2, 4, 8),
}
SMOKE_POINTS = {"batch_size": (8,)}
BEYOND = {"seeds": (5, 20), "batch_size": (512,), "size": (64, 224), "width": (2.0,)}
GROWTH = {"seeds": (1, 1), "batch_size": (1, 1), "size": (2, 2), "width": (2, 1)}
MIB = 2**20


def main(argv: Sequence[str] | None = None) -> list[dict]:
    parser = setting.parser(__doc__, steps=None, repeats=3)
    parser.set_defaults(seeds=1, batch_size=64)
    parser.add_argument("--table", type=Path, metavar="FILE", help="of rows, to print")
    asked, arguments = setting.read(parser, argv)
    if arguments.table:
        rows = io.read_rows(arguments.table)
        if not rows:
            parser.error(f"{arguments.table} has no rows: expected those of --out.")
        print(table(rows), end="")
        return rows
    points = SMOKE_POINTS if arguments.smoke else POINTS
    base = asked if arguments.smoke else dataclasses.replace(asked, width=0.5)
    return [measure(*point, arguments) for point in settings(base, points)]


def settings(
    base: Setting, points: Mapping[str, Iterable[float]]
) -> list[tuple[Setting, str, int]]:
    """The points to measure: setting, the axis that is varied, devices."""
    count = len(jax.devices())
    found = []
    for axis, values in points.items():
        if axis == "devices":
            found += [(base, axis, int(n)) for n in values if 1 < count >= n]
        else:
            changed = [dataclasses.replace(base, **{axis: value}) for value in values]
            found += [(setting, axis, 1) for setting in changed]
    return found


def measure(asked: Setting, axis: str, devices: int, arguments: Any) -> dict:
    """One point: seconds per step of all seeds, and bytes on each device."""
    layout = mesh.ONE_DEVICE
    if devices > 1:
        layout = mesh.build(asked.seeds, asked.batch_size, data=devices)
    run, held = ours.training_and_bytes(asked, layout)
    (times,) = report.alternate({"step": run}, asked.repeats).values()
    step = report.seconds("step", [each / asked.steps for each in times])
    work = {"axis": axis, "devices": devices, **vars(asked), "bytes": held}
    return report.publish("scaling", work, step, [], out=arguments.out)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of the measured points and of the extrapolations by axis."""
    lines = []
    for axis in AXES:
        points = [row for row in rows if row["setting"]["axis"] == axis]
        for row in points:
            said = row["setting"]
            figures = 1e3 * row["value"], said["bytes"] / MIB
            lines.append(_line(axis, said[axis], figures, said, "measured"))
        for value in BEYOND.get(axis, ()) if len(points) > 1 else ():
            said = points[0]["setting"] | {axis: value}
            figures = (
                1e3 * beyond(points, axis, value, "time"),
                (beyond(points, axis, value, "memory") / MIB),
            )
            lines.append(_line(axis, value, figures, said, "extrapolated"))
    columns = ["axis", "value", "ms a step", "images/s", "MiB a device", ""]
    return markdown(columns, lines)


def beyond(
    points: Sequence[Mapping[str, Any]], axis: str, value: float, what: str
) -> float:
    """Seconds a step or bytes a device, on the line through the measured points."""
    power = GROWTH[axis][what == "memory"]
    x = np.array([row["setting"][axis] for row in points], float) ** power
    y = [
        row["setting"]["bytes"] if what == "memory" else row["value"] for row in points
    ]
    slope, start = np.polyfit(x, y, 1)
    return float(start + slope * value**power)


def _line(axis, value, figures, said, how: str) -> list[str]:
    milliseconds, mebibytes = figures
    rate = said["seeds"] * said["batch_size"] / milliseconds * 1e3
    counts = [f"{x:,.0f}" for x in (milliseconds, rate, mebibytes)]
    return [axis, f"{value:g}", *counts, how]


if __name__ == "__main__":
    main()
