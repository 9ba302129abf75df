"""What is in a line that a remedy says to paste."""

import ast
import shlex

import yaml


def options(form: str, line: str) -> list[str]:
    """The options that a line sets, as they are spelt there."""
    if form == "python":
        call = ast.parse(f"Config({line})", mode="eval").body
        assert isinstance(call, ast.Call)
        assert not call.args
        return [keyword.arg for keyword in call.keywords if keyword.arg]
    if form == "yaml":
        data = yaml.safe_load(line)
        assert isinstance(data, dict)
        return list(data)
    words = shlex.split(line)
    if form == "flags":
        assert words[0].startswith("--")
        return [word[2:] for word in words if word.startswith("--")]
    assert all("=" in word for word in words), line
    return [word.split("=")[0].lstrip("+") for word in words]
