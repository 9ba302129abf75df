"""The command line in this process, which has imported what a new one waits seconds for."""

import os
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

from entrokit.cli import main


def called(*args, cwd=".", check=True, columns=200):
    """``entrokit *args``: its exit code and what it printed, as `subprocess.run` gives them."""
    out, err, code = StringIO(), StringIO(), 0
    argv, environment = patch.object(sys, "argv", ["entrokit", *map(str, args)]), patch.dict(os.environ)
    with chdir(cwd), argv, environment, warnings.catch_warnings(), redirect_stdout(out), redirect_stderr(err):
        os.environ["COLUMNS"] = str(columns)
        os.environ.pop("ENTROKIT_TRACEBACK", None)
        try:
            main()
        except SystemExit as end:
            code = end.code
    done = subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done
