"""A model that cannot be trained is refused in one line, and nothing is left of it."""

import json
import shutil

import pytest

from entrokit.training.models import ModelError
from entrokit.training.session import train
from entrokit.training.settings import TrainSettings

CHAT = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + ' ' }}{% endfor %}"


@pytest.fixture
def copied(character_checkpoint, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(character_checkpoint, folder)
    return folder


def refused(tmp_path, model, **options):
    """The message of the refusal, of one line; the run's folder must not be there."""
    small = {"steps": 4, "prompts": 4, "completions": 4, "evaluation_prompts": 4, "task": "countdown"}
    settings = TrainSettings("grpo", str(tmp_path / "runs" / "run"), model=str(model), **small | options)
    with pytest.raises(ModelError) as refusal:
        train(settings)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "runs").exists()
    return str(refusal.value)


def configured(folder, **changes):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("path", ["/no/such/folder", "./none", "~/none", "a/b/c", "..\\none"])
def test_a_path_that_is_none(tmp_path, path):
    assert refused(tmp_path, path) == f"model {path}: there is no such folder"


def test_a_hub_id_that_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = refused(tmp_path, "nobody/nothing")
    assert message.startswith("model nobody/nothing: ")


def test_a_gguf_file_and_a_folder_of_one(tmp_path):
    file = tmp_path / "gguf" / "tiny.gguf"
    file.parent.mkdir()
    file.write_bytes(b"GGUF")
    assert "is a GGUF file, not a folder" in refused(tmp_path, file)
    message = refused(tmp_path, file.parent)
    assert "holds a GGUF file (tiny.gguf) and no config.json; convert it once: AutoModelForCausalLM" in message


def test_other_folders(copied, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no config.json" in refused(tmp_path, tmp_path / "empty")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "holds an adapter alone; merge it into its model" in refused(tmp_path, adapter)
    for file in copied.glob("tokenizer*"):
        file.unlink()
    assert "holds no tokenizer (no tokenizer.json)" in refused(tmp_path, copied)


def test_a_tokenizer_that_cannot_be_read(copied, tmp_path):
    (copied / "tokenizer.json").write_text('{"version": "1.0"}')
    assert "its tokenizer cannot be loaded: " in refused(tmp_path, copied)


def test_weights_that_were_cut_short(copied, tmp_path):
    file = copied / "model.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    assert "its weights cannot be read: " in refused(tmp_path, copied)


def test_a_tokenizer_without_an_end(copied, tmp_path):
    configured(copied, eos_token=None)
    assert "its tokenizer has no end-of-sequence token" in refused(tmp_path, copied)


def test_a_system_message_needs_a_chat_template(copied, tmp_path):
    assert "has no chat template, so it takes no system message" in refused(tmp_path, copied, system="Be brief.")


def test_a_chat_template_that_raises(copied, tmp_path):
    configured(copied, chat_template="{{ raise_exception('roles must alternate') }}")
    message = refused(tmp_path, copied)
    assert "its chat template fails on training prompt 0: TemplateError: roles must alternate" in message
    configured(copied, chat_template="{% for m in messages %}")
    assert "its chat template fails on training prompt 0: TemplateSyntaxError" in refused(tmp_path, copied)


def test_prompts_longer_than_the_context(copied, tmp_path):
    message = refused(tmp_path, copied, max_completion_length=60)
    assert "tokens; with completions of 60 (max_completion_length) that is more than the 64 of" in message


def test_an_answer_in_a_form_that_the_task_does_not_read(copied, tmp_path):
    settings = TrainSettings("grpo", str(tmp_path / "run"), model=str(copied), task="sums", answer="boxed")
    with pytest.raises(ValueError, match="answer='boxed': sums does not read that; it reads plain"):
        train(settings)
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_there_stays(copied, tmp_path):
    """Only what the refused run made is taken back."""
    out = tmp_path / "mine"
    out.mkdir()
    (out / "notes.txt").write_text("kept")
    with pytest.raises(ModelError):
        train(TrainSettings("grpo", str(out), model=str(copied), system="Be brief."))
    assert [file.name for file in out.iterdir()] == ["notes.txt"]


def test_vllm_that_is_not_there(copied, tmp_path, monkeypatch):
    from entrokit.training import arguments

    monkeypatch.setattr(arguments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="vllm: vLLM is not installed here; `entrokit doctor`"):
        train(TrainSettings("grpo", str(tmp_path / "run"), model=str(copied), vllm=True))
    assert not (tmp_path / "run").exists()
