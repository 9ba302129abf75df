"""Makes what lies here: ``python make.py TRACKER FOLDER``, in an environment that holds the tracker.

Made with wandb 0.31.0, swanlab 0.10.3, swanlab 0.7.20 (as ``swanlab-json``), mlflow 3.17.2 and trackio 0.43.0: two
runs each, ``grpo-0`` and ``grpo-1``, of six steps and a validation at step 20; the entropy of step 4 is NaN. Records
that tell of the machine are left out, and databases are their tables' SQL.
"""

import os
import re
import sqlite3
import struct
import sys
import zlib
from pathlib import Path

CONFIG = {"lr": 1e-6, "model": {"name": "qwen", "layers": 2}}


def logged(run):
    for i in range(6):
        entropy = float("nan") if i == 4 else round(0.5 - 0.05 * i + run, 3)
        yield (
            i,
            {
                "actor/entropy": entropy,
                "critic": {"score": {"mean": round(0.1 * i, 1)}},
                "up": float("inf"),
                "down": float("-inf"),
                "train/global_step": i * 10,
            },
        )
    yield 20, {"val/score": 0.5}


def frames(raw):
    """Records of a short file of W&B's or SwanLab's, none of which crosses a block."""
    at = 7
    while at < len(raw):
        _, length, _ = struct.unpack_from("<IHB", raw, at)
        yield raw[at + 7 : at + 7 + length]
        at += 7 + length


def framed(head, records):
    """A file with these records, cut where blocks of 32 KiB end."""
    out = bytearray(head)
    for record in records:
        kind, rest = 1, record
        while True:
            room = 32768 - len(out) % 32768
            if room < 7:
                out += bytes(room)
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            now = kind if not rest else 2 if kind == 1 else 3
            out += struct.pack("<IHB", zlib.crc32(piece, zlib.crc32(bytes([now]))), len(piece), now) + piece
            if not rest:
                break
            kind = 4
    return bytes(out)


def rewrite(file, keep):
    raw = file.read_bytes()
    file.write_bytes(framed(raw[:7], [kept for record in frames(raw) if (kept := keep(record))]))


def wandb(folder):
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=str(folder), WANDB_DISABLE_GIT="true")
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record

    def keep(raw):
        record = Record.FromString(raw)
        record.run.ClearField("host") if record.HasField("run") else None
        record.run.ClearField("telemetry") if record.HasField("run") else None
        kept = ("header", "run", "config", "history", "exit")
        return record.SerializeToString() if record.WhichOneof("record_type") in kept else None

    settings = wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off", x_disable_machine_info=True)
    for k in range(2):
        run = wandb.init(project="field", id=f"aaaa000{k}", name=f"grpo-{k}", config=CONFIG, settings=settings)
        for i, row in logged(k):
            run.log(row, step=i)
        run.config.update({"late": 3})
        run.finish()
    for file in folder.rglob("*.wandb"):
        rewrite(file, keep)


def swanlab(folder):
    import swanlab

    def keep(raw):
        from swanlab.proto.swanlab.record.v1.record_pb2 import Record

        record = Record.FromString(raw)
        return raw if any(map(record.HasField, ("start", "column", "scalar", "finish"))) else None

    for k in range(2):
        swanlab.init(
            project="field", experiment_name=f"grpo-{k}", mode="offline", config=CONFIG, logdir=str(folder / "swanlog")
        )
        for i, row in logged(k):
            swanlab.log(row, step=i)
        swanlab.finish()
    for file in folder.rglob("*.swanlab"):
        if file.name == "backup.swanlab":
            rewrite(file, lambda raw: None if re.match(rb'{"model_type": "(Log|Runtime)"', raw) else raw)
        else:
            rewrite(file, keep)


def mlflow(folder, address=None):
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow
    from mlflow.tracking import MlflowClient

    mlflow.set_tracking_uri(address or (folder / "mlruns").as_uri())
    mlflow.set_experiment("field")
    for k in range(2):
        with mlflow.start_run(run_name=f"grpo-{k}"):
            mlflow.log_params({"lr": 1e-6, "model/name": "qwen"})
            for i, row in logged(k):
                score = row.pop("critic", None)
                mlflow.log_metrics({**row, **({"critic/score/mean": score["score"]["mean"]} if score else {})}, step=i)
    with mlflow.start_run(run_name="gone") as gone:
        mlflow.log_metric("actor/entropy", 9.0, step=1)
    MlflowClient().delete_run(gone.info.run_id)
    for file in folder.rglob("meta.yaml"):
        text = file.read_text()
        file.write_text("".join(x + "\n" for x in text.splitlines() if not re.match("(artifact|user|source)", x)))


def dumped(database, tables, into):
    """The SQL of a database's tables, without columns that tell of the machine."""
    connection = sqlite3.connect(database)
    with into.open("w") as out:
        for table in tables:
            (sql,) = connection.execute("select sql from sqlite_master where name = ?", (table,)).fetchone()
            print(" ".join(sql.split()) + ";", file=out)
            names = [row[1] for row in connection.execute(f"pragma table_info('{table}')")]
            hidden = ("user_id", "source_name", "artifact_uri")
            cells = " || ', ' || ".join("''''''" if name in hidden else f'quote("{name}")' for name in names)
            for (row,) in connection.execute(f"select {cells} from {table}"):
                print(f"INSERT INTO {table} VALUES ({row});", file=out)


def mlflow_database(folder):
    mlflow(folder, f"sqlite:///{folder / 'mlflow.db'}")
    dumped(folder / "mlflow.db", ["runs", "metrics", "params"], folder / "mlflow.sql")


def trackio(folder):
    os.environ.update(TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1", GRADIO_ANALYTICS_ENABLED="False")
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    for k in range(2):
        trackio.init(project="field", name=f"grpo-{k}", config=CONFIG, embed=False, auto_log_cpu=False)
        for i, row in logged(k):
            trackio.log(row, step=i)
        trackio.finish()
    database = folder / "field.db"
    dumped(database, ["metrics", "configs"], folder / "trackio.sql")
    SQLiteStorage._flatten_and_write_parquet(database, "metrics", "metrics", folder / "trackio.parquet")


MAKERS = {
    "wandb": wandb,
    "swanlab": swanlab,
    "swanlab-json": swanlab,
    "mlflow": mlflow,
    "mlflow-database": mlflow_database,
    "trackio": trackio,
}

if __name__ == "__main__":
    where = Path(sys.argv[2]).absolute()
    where.mkdir(parents=True, exist_ok=True)
    MAKERS[sys.argv[1]](where)
