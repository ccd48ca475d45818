"""The files of deploy/ against the program and each other: flags exist, ports and times agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
import yaml

from deploy import files
from tidings.cli import app
from tidings.core import limits

HELM: Final = shutil.which("helm")
SYSTEMD: Final = shutil.which("systemd-analyze")
NATS: Final = files.program("nats-server")
REACHABLE = "0.0.0.0"


def options() -> dict[str, Any]:
    group: Any = typer.main.get_command(app)
    return {flag: option for option in group.commands["serve"].params for flag in option.opts}


# --- the program --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", files.commands())
def test_every_flag_that_a_file_uses_is_one_of_serve(where: str) -> None:
    words = files.commands()[where]
    assert words[0] == "serve"
    flags = {word for word in words if word.startswith("--")}
    assert flags
    assert flags - set(options()) == set()


@pytest.mark.parametrize("page", ["deploy.md", "scaling.md"])
def test_every_flag_that_the_pages_name_is_one_of_serve(page: str) -> None:
    text = (files.ROOT / "docs" / page).read_text()
    named = set(re.findall(r"tidings serve[^`\n]*", text))
    flags = {flag for line in named for flag in re.findall(r"--[a-z-]+", line)}
    flags |= set(re.findall(r"`(--[a-z-]+)[ `=]", text))
    assert flags
    assert flags - set(options()) - {"--appendonly", "--appendfsync"} == set()


def test_the_log_is_named_by_the_environment_that_serve_reads() -> None:
    assert options()["--log"].envvar in ("TIDINGS_LOG", ["TIDINGS_LOG"])
    assert files.unit("tidings.service")["Environment"][0].startswith("TIDINGS_LOG=sqlite:///")
    assert "- name: TIDINGS_LOG\n" in files.chart_template("deployment.yaml")
    for name in files.COMPOSE:
        for node in files.nodes(name).values():
            assert set(node["environment"]) == {"TIDINGS_LOG"}


def test_what_alerts_and_pages_watch_is_a_metric() -> None:
    reference = (files.ROOT / "docs" / "reference.md").read_text()
    metrics = set(re.findall(r"^\| `(tidings_\w+)` \|", reference, re.MULTILINE))
    rules = yaml.safe_load(files.text("alerts.yaml"))["groups"][0]["rules"]
    watched = {name for rule in rules for name in re.findall(r"tidings_\w+", rule["expr"])}
    watched |= set(re.findall(r"tidings_\w+", (files.ROOT / "docs" / "deploy.md").read_text()))
    assert watched
    assert watched - metrics == set()


def test_where_others_reach_a_server_it_was_told_so() -> None:
    for where, words in files.commands().items():
        assert (files.value(words, "--host") == REACHABLE) == ("--open" in words), where


# --- times --------------------------------------------------------------------------------------


def test_every_file_leaves_more_time_to_stop_than_the_drain_takes() -> None:
    for where, words in files.commands().items():
        if where == "chart":
            continue
        needed = float(files.value(words, "--drain")) + limits.CLOSE_GRACE
        if where == "tidings.service":
            given = float(files.unit("tidings.service")["TimeoutStopSec"][0])
        elif where == "Dockerfile":
            given = 10.0  # what `docker stop` gives
        else:
            name, _, node = where.partition(" ")
            given = files.seconds(files.nodes(name)[node]["stop_grace_period"])
        assert given > needed, where


def test_the_unit_waits_for_a_log_and_workers_that_are_slow_to_start() -> None:
    slow = limits.LOG_OPEN_TIMEOUT + getattr(limits, "WORKER_START", 0.0)
    assert float(files.unit("tidings.service")["TimeoutStartSec"][0]) > slow


def test_the_charts_grace_is_made_of_what_comes_before_the_kill() -> None:
    deployment = files.chart_template("deployment.yaml")
    found = re.search(r"terminationGracePeriodSeconds: \{\{ add (.+) (\d+) \}\}", deployment)
    assert found is not None
    assert {".Values.preStop", ".Values.drain"} == set(re.findall(r"\.Values\.\w+", found[1]))
    assert float(found[2]) > limits.CLOSE_GRACE
    assert '["sleep", {{ .Values.preStop | quote }}]' in deployment


# --- addresses and paths ------------------------------------------------------------------------


def test_the_socket_is_where_the_service_says() -> None:
    words = files.commands()["tidings.service"]
    address = f"{files.value(words, '--host')}:{files.value(words, '--port')}"
    assert files.unit("tidings.socket")["ListenStream"] == [address]


def test_the_units_data_is_in_the_folder_that_it_may_write() -> None:
    service = files.unit("tidings.service")
    folder = f"/var/lib/{service['StateDirectory'][0]}"
    assert f"sqlite:///{folder}/" in service["Environment"][0]
    assert service["WorkingDirectory"] == [folder]
    assert folder in files.dockerfile("RUN")[-1]


def test_ports_and_probes_agree() -> None:
    ports = {files.value(words, "--port") for words in files.commands().values()}
    assert ports == {"8080"}
    assert files.dockerfile("EXPOSE") == ["8080"]
    assert "http://127.0.0.1:8080/livez" in files.dockerfile("HEALTHCHECK")[0]
    deployment = files.chart_template("deployment.yaml")
    assert "containerPort: 8080" in deployment
    probes = dict(re.findall(r"(\w+)Probe:\n +httpGet: \{path: (\S+), port: http\}", deployment))
    assert probes == {"liveness": "/livez", "readiness": "/readyz", "startup": "/livez"}
    assert files.chart_values()["podAnnotations"]["prometheus.io/port"] == "8080"


def test_the_image_runs_nothing_through_a_shell_nor_as_root() -> None:
    for instruction in ("ENTRYPOINT", "CMD"):
        assert files.dockerfile(instruction)[-1].startswith("[")
    (health,) = files.dockerfile("HEALTHCHECK")
    assert re.search(r"CMD \[", health)
    (user,) = files.dockerfile("USER")
    assert user == "10001:10001"
    deployment = files.chart_template("deployment.yaml")
    assert f"runAsUser: {user.partition(':')[0]}\n" in deployment
    assert "runAsNonRoot: true" in deployment


def test_the_image_is_made_of_files_that_are_there_and_not_ignored() -> None:
    copied = [word for line in files.dockerfile("COPY") if "--from" not in line for word in line.split()[:-1]]
    kept = set(re.findall(r"^!(.+)$", files.text("Dockerfile.dockerignore"), re.MULTILINE))
    assert set(copied) == kept
    assert all((files.ROOT / name).exists() for name in copied)


def test_the_images_health_check_tells_a_live_server_from_a_dead_one(server: Any) -> None:
    command = yaml.safe_load(files.dockerfile("HEALTHCHECK")[0].partition("CMD ")[2])
    assert command[0] == "python"
    script = command[2].replace("127.0.0.1:8080", f"{server.host}:{server.port}")
    healthy = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    server.stop()
    dead = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=20)
    assert (healthy.returncode == 0, dead.returncode == 0) == (True, False)


# --- compose ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", files.COMPOSE)
def test_names_in_a_compose_file_are_its_services(name: str) -> None:
    loaded = files.compose(name)
    services = set(loaded["services"])
    upstream = re.findall(r"^\s+server (\w+):(\d+) ", files.text("nginx.conf"), re.MULTILINE)
    assert (
        {host for host, _ in upstream}
        == set(files.nodes(name))
        == set(loaded["services"]["front"]["depends_on"])
    )
    assert {port for _, port in upstream} == {"8080"}
    for node in files.nodes(name).values():
        address = node["environment"]["TIDINGS_LOG"].partition("://")[2].partition("?")[0].partition("/")[0]
        engines = {host.partition(":")[0] for host in address.split(",")}
        assert engines == set(node["depends_on"])
        assert engines <= services
    used = {
        volume.partition(":")[0] for one in loaded["services"].values() for volume in one.get("volumes", [])
    }
    assert {volume for volume in used if not volume.startswith(".")} == set(loaded["volumes"])
    for volume in used:
        assert not volume.startswith(".") or (files.DEPLOY / volume).is_file()


@pytest.mark.parametrize("name", files.COMPOSE)
def test_only_the_front_is_reached_from_outside_and_only_from_this_machine(name: str) -> None:
    loaded = files.compose(name)
    assert loaded["networks"]["inside"]["internal"] is True
    outside = {
        key for key, one in loaded["services"].items() if "ports" in one or "outside" in one["networks"]
    }
    assert outside == {"front"}
    assert loaded["services"]["front"]["ports"] == ["127.0.0.1:8080:8080"]


def test_redis_is_set_to_keep_what_is_acknowledged_and_to_throw_nothing_away() -> None:
    words = files.compose("compose.yaml")["services"]["redis"]["command"]
    assert [files.value(words, flag) for flag in ("--appendonly", "--appendfsync")] == ["yes", "always"]
    assert files.value(words, "--maxmemory-policy") == "noeviction"


def test_nats_takes_messages_as_large_as_ours_and_routes_to_its_neighbours() -> None:
    configuration = files.text("nats.conf")
    (most,) = re.findall(r"^max_payload: (\d+)KB$", configuration, re.MULTILINE)
    assert int(most) * 1024 > limits.LOG_RECORD_BYTES
    servers = {key for key in files.compose("compose.nats.yaml")["services"] if key.startswith("nats")}
    assert set(re.findall(r"nats://(\w+):6222", configuration)) == servers
    assert "replicas=3" in files.nodes("compose.nats.yaml")["node1"]["environment"]["TIDINGS_LOG"]


@pytest.mark.skipif(NATS is None, reason="no `nats-server` on PATH")
def test_a_real_nats_server_takes_the_configuration(tmp_path: Path) -> None:
    assert NATS is not None
    configuration = files.nats_configuration(NATS, tmp_path / "data")
    (tmp_path / "nats.conf").write_text(configuration)
    tried = subprocess.run([NATS, "-t", "-c", tmp_path / "nats.conf"], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr


# --- systemd and the chart ----------------------------------------------------------------------


@pytest.mark.skipif(SYSTEMD is None, reason="no `systemd-analyze` on PATH")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    assert SYSTEMD is not None
    service = files.text("tidings.service").replace("/opt/tidings/bin/tidings", "/bin/true")
    (tmp_path / "tidings.service").write_text(service)
    shutil.copy(files.DEPLOY / "tidings.socket", tmp_path)
    units = [tmp_path / "tidings.service", tmp_path / "tidings.socket"]
    verified = subprocess.run([SYSTEMD, "verify", *units], capture_output=True, text=True, timeout=60)
    said = "\n".join(
        line for line in verified.stderr.splitlines() if str(tmp_path) in line or "tidings." in line
    )
    assert (verified.returncode, said) == (0, "")


def test_the_charts_templates_use_exactly_the_values_that_there_are() -> None:
    def leaves(values: dict[str, Any], before: str = "") -> set[str]:
        found = set()
        for key, one in values.items():
            nested = isinstance(one, dict) and one and key not in ("podAnnotations", "resources")
            found |= leaves(one, f"{before}{key}.") if nested else {f"{before}{key}"}
        return found

    templates = "".join(path.read_text() for path in (files.CHART / "templates").iterdir())
    assert set(re.findall(r"\.Values\.([\w.]+)", templates)) == leaves(files.chart_values())


@pytest.mark.parametrize(
    "template", sorted((files.CHART / "templates").iterdir()), ids=lambda path: path.name
)
def test_what_a_template_begins_it_ends(template: Path) -> None:
    words = re.findall(r"\{\{-? (if|with|range|define|end)\b", template.read_text())
    assert words.count("end") == len(words) - words.count("end")


def helm(*values: str) -> subprocess.CompletedProcess[str]:
    assert HELM is not None
    settings = [word for one in values for word in ("--set", one)]
    command = [HELM, "template", "push", str(files.CHART), "--kube-version", "1.30.0", *settings]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


needs_helm = pytest.mark.skipif(
    HELM is None, reason="no `helm` on PATH: the chart is only read, not rendered"
)


@needs_helm
def test_the_chart_refuses_several_nodes_without_a_common_log() -> None:
    refused = helm()
    assert refused.returncode != 0
    assert "log.existingSecret" in refused.stderr
    assert helm("replicas=1").returncode == 0


@needs_helm
def test_the_rendered_chart_drains_within_its_grace_and_asks_the_right_port() -> None:
    extras = ("log.existingSecret=log", "log.partitions=4", "origins={https://push.example.org}", "drain=20")
    done = helm(*extras, "autoscaling.enabled=true", "networkPolicy.enabled=true")
    assert done.returncode == 0, done.stderr
    objects = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    kinds = {"Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    assert set(objects) == kinds
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = container["args"]
    assert all(isinstance(word, str) for word in words)
    assert {word for word in words if word.startswith("--")} <= set(options())
    before = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    drain = float(files.value(words, "--drain"))
    assert drain == 20
    assert pod["terminationGracePeriodSeconds"] > before + drain + limits.CLOSE_GRACE
    assert container["ports"][0]["containerPort"] == int(files.value(words, "--port"))
    assert container["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "log", "key": "url"}
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service"]["spec"]["selector"].items() <= labels.items()
