"""Add, list, show and remove avatars, on a server or in the store of this machine."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from parlante.cli.embedded import gateway_target
from parlante.cli.options import (
    add_face_option,
    add_framing_option,
    add_server_option,
    face_of,
)
from parlante.client import ParlanteClient
from parlante.types import AvatarInfo, Framing

__all__ = ["configure", "run"]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the actions of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="add|list|show|rm")
    add = actions.add_parser("add", help="make an avatar of a portrait")
    add.add_argument("portrait", type=Path, help="JPEG, PNG or WebP")
    add.add_argument("--name", default="", help="a-z, 0-9 and '-'; without it one is made up")
    add_face_option(add)
    add_framing_option(add)
    listing = actions.add_parser("list", help="list all avatars")
    show = actions.add_parser("show", help="show one avatar")
    show.add_argument("name")
    remove = actions.add_parser("rm", help="forget avatars")
    remove.add_argument("names", nargs="+", metavar="name")
    for action in (add, listing, show, remove):
        add_server_option(action)
        action.add_argument("--json", action="store_true", help="print JSON, one avatar a line")


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    found = asyncio.run(_run(args))
    if args.action == "list" and not found and not args.json:
        print("no avatars yet; make one with: parlante avatars add PORTRAIT")
    for avatar in found:
        print(json.dumps(asdict(avatar)) if args.json else _line(avatar))
    return 0


async def _run(args: argparse.Namespace) -> list[AvatarInfo]:
    async with gateway_target(args.server) as target, ParlanteClient(target) as client:
        await client.wait_ready()
        match args.action:
            case "add":
                face = face_of(args.face, Framing(args.framing))
                return [await client.create_avatar(args.portrait, name=args.name, face=face)]
            case "list":
                return await client.list_avatars()
            case "show":
                return [await client.get_avatar(args.name)]
            case _:
                for name in args.names:
                    await client.delete_avatar(name)
                return []


def _line(avatar: AvatarInfo) -> str:
    created = datetime.fromtimestamp(avatar.created_unix_ms / 1000, UTC)
    return (
        f"{avatar.name}  {avatar.source_width_px}x{avatar.source_height_px} {avatar.framing}  "
        f"{avatar.latent_bytes / 1e6:.1f} MB  {created:%Y-%m-%d %H:%M} UTC  {avatar.key[:12]}"
    )
