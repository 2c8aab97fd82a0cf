"""RabbitMQ as a role: a node of its own, with an Erlang port mapper of its own, all on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template
from urllib.parse import quote

from jettythunder_client.private_files import write_private
from jettythunder_dev.clients import ping_broker
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import Layout, read_template
from jettythunder_dev.packages import find_rabbitmq
from jettythunder_dev.programs import Program

USER = "jettythunder"

_METRICS_PLUGIN = "rabbitmq_prometheus"


class NativeRabbitMQ:
    """A node under `layout.rabbitmq`, run by RabbitMQ's own script as the current user.

    The port mapper (epmd) is a program of the stack as well: a node that finds none starts one that would
    outlive it.

    Args:
        password: of the user who may do everything.
        service_passwords: of the services' users, by service; each may do what its messages need.
        metrics_port: where Prometheus may scrape the node; without it the node has no plugin for that.
    """

    name = "rabbitmq"
    source = "native"

    def __init__(
        self,
        *,
        layout: Layout,
        port: int,
        distribution_port: int,
        epmd_port: int,
        password: str,
        service_passwords: Mapping[str, str],
        metrics_port: int | None = None,
    ) -> None:
        self._folder = layout.rabbitmq
        self._node = f"{layout.identifier}@localhost"
        self._port = port
        self._distribution_port = distribution_port
        self._epmd_port = epmd_port
        self._password = password
        self._service_passwords = service_passwords
        self._metrics_port = metrics_port
        scripts = find_rabbitmq()
        if scripts is None:
            raise StackError("RabbitMQ is not installed: install it, and repeat.")
        self._scripts = scripts
        self.version = rabbitmq_version(scripts)

    def prepare(self) -> None:
        """Write the node's configuration; the node makes its own data."""
        for folder in ("home", "mnesia", "log"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        definitions_file = self._folder / "definitions.json"
        settings = Template(read_template("rabbitmq.conf")).substitute(
            port=self._port, definitions=definitions_file
        )
        plugins = () if self._metrics_port is None else (_METRICS_PLUGIN,)
        if self._metrics_port is not None:
            settings += f"\nprometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {self._metrics_port}\n"
        write_private(self._folder / "rabbitmq.conf", settings)
        write_private(
            definitions_file, json.dumps(definitions(self._password, self._service_passwords), indent=2)
        )
        write_private(self._folder / "enabled_plugins", f"[{','.join(plugins)}].\n")
        installation = (self._scripts / "rabbitmq-server").resolve().parents[1]
        link_server(installation, self._folder / "server", plugins=plugins)

    def programs(self) -> list[Program]:
        epmd = Program(
            name="epmd",
            command=[find_epmd(), "-port", str(self._epmd_port), "-address", "127.0.0.1"],
            directory=self._folder,
            priority=10,
            listens_on=self._epmd_port,
        )
        node = Program(
            name=self.name,
            command=[str(self._folder / "server" / "sbin" / "rabbitmq-server")],
            directory=self._folder,
            environment={
                "HOME": str(self._folder / "home"),
                "RABBITMQ_SCRIPTS_DIR": str(self._folder / "server" / "sbin"),
                "RABBITMQ_NODENAME": self._node,
                "RABBITMQ_DIST_PORT": str(self._distribution_port),
                "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
                "RABBITMQ_CONF_ENV_FILE": str(self._folder / "rabbitmq-env.conf"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
                "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
                "RABBITMQ_LOG_BASE": str(self._folder / "log"),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
                "ERL_EPMD_PORT": str(self._epmd_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                # Makes the script become the server instead of its parent, so that signals reach the server.
                "RUNNING_UNDER_SYSTEMD": "true",
            },
            priority=11,
            stop_wait_seconds=30,
        )
        return [epmd, node]

    def ping(self) -> None:
        ping_broker(self.variables()["RABBITMQ_URL"])

    def complete(self) -> None:
        """The node makes its users by itself."""

    def variables(self) -> dict[str, str]:
        return {"RABBITMQ_URL": self._url(USER, self._password)}

    def variables_of(self, service: str) -> dict[str, str]:
        """The variables by which one service reaches the server, as its own user."""
        from jettythunder.broker.permissions import user_of  # noqa: PLC0415 - aio_pika starts slowly

        return {"RABBITMQ_URL": self._url(user_of(service), self._service_passwords[service])}

    def _url(self, user: str, password: str) -> str:
        return f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{self._port}/"

    def describe(self) -> str:
        return f"RabbitMQ {self.version} on 127.0.0.1:{self._port}"


def definitions(password: str, service_passwords: Mapping[str, str]) -> dict[str, list[dict[str, str]]]:
    """The users and what they may do, as a node takes them at its start; `password` is of our own user."""
    from jettythunder.broker.permissions import (  # noqa: PLC0415 - aio_pika starts slowly
        Permissions,
        permissions,
        user_of,
    )
    from jettythunder.broker.topology import installed_services  # noqa: PLC0415

    allowed = [
        Permissions(USER, ".*", ".*", ".*"),
        *(
            of_user
            for of_user in permissions(installed_services())
            if of_user.user in map(user_of, service_passwords)
        ),
    ]
    passwords = {USER: password} | {
        user_of(service): password for service, password in service_passwords.items()
    }
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": user,
                "password_hash": hashed_password(password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "administrator" if user == USER else "",
            }
            for user, password in passwords.items()
        ],
        "permissions": [{"vhost": "/", **asdict(of_user)} for of_user in allowed],
    }


def hashed_password(password: str) -> str:
    """A password as RabbitMQ keeps it (https://www.rabbitmq.com/docs/passwords#computing-password-hash)."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def rabbitmq_version(scripts: Path) -> str:
    """The version, read from the installation's folder name (`rabbitmqctl version` would start an Erlang)."""
    found = re.search(r"\d+\.\d+\.\d+", str((scripts / "rabbitmq-server").resolve()))
    return found.group() if found else "unknown"


def link_server(installation: Path, linked: Path, *, plugins: Sequence[str] = ()) -> None:
    """Make a folder that shows the installation with these plugins and what the server consists of, only.

    Erlang looks through every plugin's folder for each module it loads; without the seventy that are not
    enabled the server starts in half the time.
    """
    installed = installation / "plugins"
    shutil.rmtree(linked, ignore_errors=True)
    (linked / "plugins").mkdir(parents=True)
    for folder in installation.iterdir():
        if folder != installed:
            (linked / folder.name).symlink_to(folder)
    for needed in server_applications(installed, plugins=plugins):
        (linked / "plugins" / needed.name).symlink_to(needed)


def server_applications(installed: Path, *, plugins: Sequence[str] = ()) -> list[Path]:
    """The folders under `installed` that the server and these plugins need, found through the .app files.

    All of them where the installation is of another shape, such as packed archives.
    """
    available = {path.name.split("-")[0]: path for path in installed.iterdir()}
    needed: set[str] = set()
    wanted = {"rabbit", *plugins}
    while wanted:
        name = wanted.pop()
        description = available[name] / "ebin" / f"{name}.app" if name in available else None
        if description is None or name in needed:
            continue
        if not description.is_file():
            return list(available.values())
        needed.add(name)
        wanted |= set(re.findall(r"\w+", _applications_of(description.read_text())))
    return [available[name] for name in needed]


def _applications_of(description: str) -> str:
    """The inside of `{applications, [...]}` and `{included_applications, [...]}` in an .app file."""
    return " ".join(re.findall(r"applications\s*,\s*\[([^\]]*)\]", description))


def find_epmd() -> str:
    found = shutil.which("epmd", path=os.pathsep.join([os.environ.get("PATH", ""), "/opt/homebrew/bin"]))
    if found:
        return found
    bundled = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    if bundled:
        return str(bundled[-1])
    raise StackError("Erlang's port mapper `epmd` is not on the PATH: install Erlang, and repeat.")
