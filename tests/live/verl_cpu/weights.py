"""An extension of vLLM's workers: weights that verl sends can be loaded into a model on a CPU."""

from verl.workers.rollout.vllm_rollout import bucketed_weight_transfer as transfer
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from ..vllm_cpu import keep_weights

# This module is imported before the model is loaded.
keep_weights()


def _of_their_own(receive_weights):
    """``.to("cpu")`` of a view into shared memory is no copy, and the sender closes what the view holds open."""

    def receive(self, on_bucket_received):
        def copied(weights, is_last):
            return on_bucket_received([(name, value.clone()) for name, value in weights], is_last)

        return receive_weights(self, copied)

    return receive


transfer.BucketedWeightReceiver.receive_weights = _of_their_own(transfer.BucketedWeightReceiver.receive_weights)


class Extension(vLLMColocateWorkerExtension):
    """verl's own; importing its module is what counts."""
