"""Test what the service is deployed with: the steps of the Dockerfile, and the flags and limits of the manifests."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from service_process import Service

from hangtag.cli import app
from hangtag.config import ServeConfig
from hangtag.models.shipped import SHIPPED
from hangtag.presets import resolve_settings
from hangtag.serving.middleware import HEALTH_PATHS
from hangtag.serving.supervisor import KILL_SECONDS
from hangtag.stages.serve import KEY_VARIABLE

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = [
    (line.partition(" ")[0], line.partition(" ")[2])
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
POD = MANIFESTS["deployment"]["spec"]["template"]
[CONTAINER] = POD["spec"]["containers"]
COMMANDS = {
    "Dockerfile": json.loads(dict(DOCKERFILE)["CMD"]),
    "serve in compose.yaml": COMPOSE["services"]["serve"]["command"],
    "review in compose.yaml": COMPOSE["services"]["review"]["command"],
    "deployment.yaml": CONTAINER["args"],
}


def parse(arguments: list[str]) -> dict[str, Any]:
    """Return the flags of a command as the command line reads them.

    Raises:
        typer.TyperException: A flag does not exist, or has a wrong value.
    """
    command = typer.main.get_command(app)
    found = command.commands[arguments[0]]  # type: ignore[attr-defined]
    with found.make_context(arguments[0], list(arguments[1:])) as context:
        return dict(context.params)


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_have_flags_that_exist(name: str) -> None:
    flags = parse(COMMANDS[name])
    if COMMANDS[name][0] == "serve":
        resolve_settings(ServeConfig, flags)


def test_pods_belong_together_and_are_probed() -> None:
    labels = POD["metadata"]["labels"]
    assert MANIFESTS["deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["service"]["spec"]["selector"] == labels
    assert MANIFESTS["disruption-budget"]["spec"]["selector"]["matchLabels"] == labels
    scaled = MANIFESTS["autoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == MANIFESTS["deployment"]["metadata"]["name"]
    assert 2 <= scaled["minReplicas"] <= scaled["maxReplicas"]
    [port] = CONTAINER["ports"]
    assert MANIFESTS["service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    port_number = parse(CONTAINER["args"])["port"]
    assert port["containerPort"] == port_number == int(POD["metadata"]["annotations"]["prometheus.io/port"])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in HEALTH_PATHS
        assert CONTAINER[probe]["httpGet"]["port"] == port["name"]
    # A pod that is overloaded or drains is not ready; it is not restarted.
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_pods_have_little_rights_and_a_key_that_is_a_secret() -> None:
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    [user] = [re.findall(r"--uid (\d+)", text) for name, text in DOCKERFILE if name == "RUN" and "useradd" in text]
    assert user == [str(POD["spec"]["securityContext"]["runAsUser"])]
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert CONTAINER["resources"].keys() == {"requests", "limits"}
    [secret] = CONTAINER["env"]
    assert secret["name"] == KEY_VARIABLE
    assert secret["valueFrom"].keys() == {"secretKeyRef"}


def test_no_password_stands_in_a_file() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY", name):
                assert re.fullmatch(r"\$\{[A-Z_]+:\?.*\}", value), name


def test_who_stops_the_service_waits_until_it_has_drained() -> None:
    drain = parse(CONTAINER["args"])["drain_seconds"]
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain + KILL_SECONDS
    serve = COMPOSE["services"]["serve"]
    assert int(serve["stop_grace_period"].removesuffix("s")) > KILL_SECONDS
    # The endpoints are left by then.
    readiness = CONTAINER["readinessProbe"]
    assert drain > readiness["periodSeconds"] * readiness["failureThreshold"]


def copy_as_docker(folder: Path) -> None:
    """Make the COPY steps of the Dockerfile, with the files that .dockerignore lets through."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name, text in DOCKERFILE:
        if name != "COPY":
            continue
        *sources, target = text.split()
        for source in sources:
            assert source in allowed
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / source, folder / target)


def install_as_docker(folder: Path, python: Path) -> None:
    """Make the RUN step that installs, with the packages that are here already, and so without a network."""
    [run] = [text for name, text in DOCKERFILE if name == "RUN" and "pip" in text]
    asked = shlex.split(run.replace("${EXTRAS}", ""))
    assert asked[:2] == ["pip", "install"]
    command = [sys.executable, "-m", "pip", "--python", str(python), *asked[1:]]
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--ignore-installed", "--quiet"]
    subprocess.run([*command, *offline], cwd=folder, env=clean_environment(), check=True, timeout=300)


def clean_environment() -> dict[str, str]:
    # As in the container, nothing can be written at home.
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def test_the_steps_of_the_dockerfile_make_a_service(tmp_path: Path) -> None:
    folder, environment = tmp_path / "app", tmp_path / "venv"
    folder.mkdir()
    copy_as_docker(folder)
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    [packages] = environment.glob("lib/python*/site-packages")
    # The dependencies are those of this environment; hangtag itself is not found through this line.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install_as_docker(folder, python)
    shutil.rmtree(folder)
    found = subprocess.run(
        [python, "-c", "import hangtag; print(hangtag.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=clean_environment(),
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(packages)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = [str(SHIPPED) if part == "/model" else part for part in json.loads(dict(DOCKERFILE)["CMD"])]
    [program] = json.loads(dict(DOCKERFILE)["ENTRYPOINT"])
    command = [environment / "bin" / program, *given, "--host", "127.0.0.1", "--port", str(port), "--processes", "2"]
    process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment(), stderr=subprocess.PIPE, text=True)
    service = Service(process, port)
    try:
        check = json.loads(dict(DOCKERFILE)["HEALTHCHECK"].removeprefix("CMD "))
        asked = [str(python) if part == "python" else part.replace(":8000", f":{port}") for part in check]
        assert asked != check
        ends = time.monotonic() + 120
        while subprocess.run(asked, capture_output=True, check=False, timeout=60).returncode:
            assert process.poll() is None, "".join(service.lines)
            assert time.monotonic() < ends
        process.send_signal(getattr(signal, dict(DOCKERFILE)["STOPSIGNAL"]))
        assert process.wait(60) == 0
    finally:
        service.end()
