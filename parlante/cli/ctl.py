"""``parlantectl``: look at a fleet and take replicas out of it.

  status       load of every replica
  cordon       let a replica take no new streams; open ones go on
  uncordon     let it take them again
  drain        cordon it and hand its streams over to others
  doctor       say what of a fleet does not fit together
  scale-guard  let scale-ins take the emptiest replicas (runs until stopped, in a cluster)
  fetch        fetch weights that are in no image into a folder

TARGETs are as for the gateway: HOST:PORT[,...], dns:///NAME:PORT or k8s:///SERVICE.NAMESPACE:PORT.
Where options are not given, PARLANTECTL_STAGES (STAGE=TARGET, with spaces between), _TLS_CA,
_TLS_CERT, _TLS_KEY and _PEER_NAME count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from parlante.errors import InvalidInput, ParlanteError
from parlante.fleet.endpoints import Discovery, open_discovery
from parlante.fleet.model_files import fetch, read_list
from parlante.fleet.operator import Operator, Report
from parlante.logs import configure_logging
from parlante.rpc.replica import replica_name
from parlante.rpc.tls import TlsFiles

__all__ = ["main"]

STAGES: Final = ("gateway", "encoder", "motion", "renderer")
_COLUMNS: Final = ("stage", "replica", "address", "zone", "used", "slots", "state", "version")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns 0, 1 when something is wrong with the fleet, 2 for wrong input."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    args = _parser().parse_args(argv)
    try:
        return asyncio.run(_run(args))
    except ParlanteError as error:
        print(f"parlantectl: error: {error.message} [{error.reason}]", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parlantectl",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for name, what in (
        ("ca", "PEM bundle of the replicas; turns TLS on"),
        ("cert", "PEM certificate of our own"),
        ("key", "PEM key of the certificate"),
    ):
        default = _from_environment(f"TLS_{name.upper()}") or None
        parser.add_argument(f"--tls-{name}", type=Path, default=default, help=what)
    parser.add_argument(
        "--peer-name",
        default=_from_environment("PEER_NAME"),
        help="name in the replicas' certificates",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    known_stages = _from_environment("STAGES").split()
    for name in ("status", "doctor", "scale-guard"):
        command = commands.add_parser(name)
        command.add_argument(
            "--stage",
            action="append",
            required=not known_stages,
            metavar="STAGE=TARGET",
            help=f"one of {', '.join(STAGES)}, and where its replicas are; may be repeated",
        )
        if name == "scale-guard":
            command.add_argument(
                "--scale-in",
                action="append",
                default=[],
                metavar="STAGE=DEPLOYMENT[:MIN]",
                help="empty a replica that is not needed and lower this Deployment's number, not "
                "below MIN (default: 2); its autoscaler must not scale down; may be repeated",
            )
        command.set_defaults(known_stages=known_stages)
    command = commands.add_parser("fetch")
    command.add_argument(
        "--list", type=Path, required=True, help="file with a line SHA256 NAME URL for each file"
    )
    command.add_argument("--to", type=Path, required=True, help="folder")
    for name in ("cordon", "uncordon", "drain"):
        command = commands.add_parser(name)
        command.add_argument("address", help="HOST:PORT of the replica (gateways: the admin port)")
        if name == "drain":
            command.add_argument(
                "--timeout", type=float, default=30.0, help="seconds to wait (default: 30)"
            )
    return parser


def _from_environment(name: str) -> str:
    return os.environ.get(f"PARLANTECTL_{name}", "")


async def _run(args: argparse.Namespace) -> int:
    if args.command == "fetch":
        return await asyncio.to_thread(_fetch, args.list, args.to)
    tls = None
    if args.tls_ca or args.tls_cert:
        tls = TlsFiles(ca=args.tls_ca, cert=args.tls_cert, key=args.tls_key)
    operator = Operator(tls=tls, peer_name=args.peer_name)
    match args.command:
        case "cordon" | "uncordon":
            load = await operator.cordon(args.address, args.command == "cordon")
            print(f"{load.replica}: {args.command}ed, {load.held_count} streams go on")
            return 0
        case "drain":
            await operator.empty(args.address, timeout_s=args.timeout)
            print(f"{args.address}: empty and cordoned")
            return 0
    wanted = args.stage or args.known_stages
    scale_ins = dict(_scale_in(item, wanted) for item in getattr(args, "scale_in", ()))
    async with AsyncExitStack() as stack:
        stages: dict[str, Discovery] = {}
        for item in wanted:
            stage, target = _split(item)
            discovery = open_discovery(target)
            await discovery.start()
            stack.push_async_callback(discovery.aclose)
            stages[stage] = discovery
        if args.command == "scale-guard":
            return await _guard(operator, stages, scale_ins)
        reports = {stage: await operator.reports(found) for stage, found in stages.items()}
        faults = {stage: found.known.fault for stage, found in stages.items()}
        if args.command == "status":
            return _show(reports, faults)
        return _diagnose(reports, faults)


def _fetch(list_file: Path, folder: Path) -> int:
    try:
        files = read_list(list_file.read_text())
    except OSError as error:
        raise InvalidInput(
            f"cannot read the list {list_file}: {error.strerror}", reason="BAD_OPTION", field="list"
        ) from error
    for file in files:
        state = "fetched" if fetch(file, folder) else "there already"
        print(f"{file.name}: {state}", flush=True)
    return 0


def _split(item: str) -> tuple[str, str]:
    stage, _, target = item.partition("=")
    if stage not in STAGES or not target:
        raise InvalidInput(
            f"--stage takes STAGE=TARGET with a stage of {', '.join(STAGES)}; got {item[:80]!r}",
            reason="BAD_OPTION",
            field="stage",
        )
    return stage, target


def _scale_in(item: str, watched: list[str]) -> tuple[str, tuple[str, int]]:
    stage, _, rest = item.partition("=")
    deployment, _, least = rest.partition(":")
    stages = {one.partition("=")[0] for one in watched}
    if stage not in stages or not deployment or not (least or "2").isdecimal():
        raise InvalidInput(
            "--scale-in takes STAGE=DEPLOYMENT or STAGE=DEPLOYMENT:MIN with a stage that --stage "
            f"names; got {item[:80]!r}",
            reason="BAD_OPTION",
            field="scale_in",
        )
    return stage, (deployment, max(1, int(least or "2")))


def _show(reports: dict[str, list[Report]], faults: dict[str, str]) -> int:
    rows: list[tuple[str, ...]] = [_COLUMNS]
    for stage, found in reports.items():
        rows += [_row(stage, report) for report in found]
        if not found:
            rows.append((stage, "", "", "", "", "", faults[stage] or "nobody is there", ""))
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    is_whole = all(found and all(report.load for report in found) for found in reports.values())
    return 0 if is_whole else 1


def _row(stage: str, report: Report) -> tuple[str, ...]:
    endpoint, load = report.endpoint, report.load
    if load is None:
        return (stage, endpoint.name, endpoint.address, endpoint.zone, "", "", report.fault, "")
    states = [
        name
        for name, holds in (
            ("draining", load.draining or endpoint.draining),
            ("cordoned", load.cordoned),
            ("starting", not load.serving and not load.draining),
        )
        if holds
    ]
    used = str(load.held_count + load.leased_count)
    state = ", ".join(states) or "serving"
    name = load.replica or endpoint.name
    slots = str(load.slot_count)
    return (stage, name, endpoint.address, endpoint.zone, used, slots, state, load.version)


def _diagnose(reports: dict[str, list[Report]], faults: dict[str, str]) -> int:
    """Print one line per finding; gives 1 when one of them needs a person."""
    problems = [
        f"{stage}: replicas cannot be discovered ({fault}); check the address, the network policy "
        "to it and the right to get, list and watch endpointslices"
        for stage, fault in faults.items()
        if fault
    ]
    for stage, found in reports.items():
        if not found and not faults[stage]:
            problems.append(f"{stage}: nobody is there; check its target, its Service and its pods")
        problems += [
            f"{stage}: {report.endpoint.address} does not answer ({report.fault}); "
            "check network policies, TLS and its log"
            for report in found
            if report.load is None
        ]
        loads = [report.load for report in found if report.load is not None]
        problems += [
            f"{stage}: {load.replica} serves {load.stage}; two Services select the same pods"
            for load in loads
            if load.stage != stage
        ]
        if loads and not any(load.serving and not load.cordoned for load in loads):
            problems.append(
                f"{stage}: no replica takes streams; uncordon one or wait for its start"
            )
        num_free = sum(load.slot_count - load.held_count - load.leased_count for load in loads)
        if loads and num_free == 0:
            problems.append(f"{stage}: all slots are in use; add replicas")
        if len(loads) == 1:
            problems.append(f"{stage}: one replica only; a session cannot outlive it")
    versions = sorted({r.load.version for found in reports.values() for r in found if r.load})
    if len(versions) > 1:
        problems.append(f"versions differ: {', '.join(versions)}; sessions move within one only")
    for problem in problems:
        print(f"- {problem}")
    if not problems:
        print("nothing to complain about")
    return 1 if problems else 0


async def _guard(
    operator: Operator, stages: dict[str, Discovery], scale_ins: dict[str, tuple[str, int]]
) -> int:
    # Imported here: everything else works without a cluster.
    from kubernetes.aio import client

    from parlante.fleet.endpoint_slices import find_configuration, own_namespace
    from parlante.fleet.leader_lease import LeaderLease
    from parlante.fleet.scale_guard import ScaleGuard, lead
    from parlante.fleet.scale_in import Policy

    configure_logging()
    namespace = own_namespace()
    async with client.ApiClient(await find_configuration()) as connection:
        lease = LeaderLease(client.CoordinationV1Api(connection), namespace, replica_name())
        policies = {
            stage: Policy(deployment=name, min_replicas=min_replicas)
            for stage, (name, min_replicas) in scale_ins.items()
        }
        guard = ScaleGuard(connection, namespace, operator, stages, lease=lease, policies=policies)
        await lead(lease, guard)
    return 0


if __name__ == "__main__":
    sys.exit(main())
