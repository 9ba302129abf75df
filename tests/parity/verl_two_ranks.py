"""One update of verl's actor for several recipes under ``torchrun``: prints losses and weights as JSON.

Alone it takes all rows; of two ranks, each takes half of every mini-batch.
"""

import json
import os
import sys

import torch

from tests.parity import verl_actor as v

RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def own_rows():
    """This rank's rows of every mini-batch, taken in turn, so that the completions of a prompt lie on both."""
    return torch.arange(RANK, v.ROWS, WORLD)


def main():
    folder, out, *specs = sys.argv[1:]
    torch.set_num_threads(1)
    if WORLD > 1:
        torch.distributed.init_process_group("gloo")
    results = {}
    for spec in specs:
        columns = v.completions()
        model = v.load(folder)
        old = v.old_log_probs(model, columns)
        worker = v.actor(folder, *v.of_recipe(spec))
        rows = own_rows()
        kl = "-kl(" in spec
        reference = {"ref_log_prob": v.old_log_probs(model, columns, noise=0.3)[rows]} if kl else {}
        own = v.rows_of(columns, rows) | {"uid": [columns["uid"][i] for i in rows]}
        data = v.update_batch(
            own, torch.zeros(len(rows), v.LENGTH), old[rows], mini_batch=v.MINI, epochs=2, **reference
        )
        output = worker.update_actor(data)
        weights = torch.cat([w.flatten() for w in v.parameters(worker).values()])
        logged = {
            n: x for n, x in output["metrics"].items() if n.startswith("actor/") and "/" in n.removeprefix("actor/")
        }
        results[spec] = {"losses": output["metrics"]["loss"], "weights": weights[::7].tolist(), "logged": logged}
    if RANK == 0:
        with open(out, "w") as file:
            json.dump(results, file)


if __name__ == "__main__":
    main()
