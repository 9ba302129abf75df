"""A stand-in for vLLM where TRL asks for it; TRL's own code on both sides of it is real.

It samples from the policy that it was last given, and reports log-probabilities a little off, as vLLM's numerics do.
"""

import copy

import torch

NOISE = 0.3


class StandIn:
    """What TRL asks of `trl.generation.vllm_generation.VLLMGeneration`."""

    def __init__(self, model, processing_class=None, max_completion_length=8, temperature=1.0, **options):
        self.policy, self.tokenizer = model, processing_class
        self.length, self.temperature, self.options = max_completion_length, temperature, options
        self.served, self.syncs, self.calls = None, 0, 0

    def sync_weights(self):
        self.served = copy.deepcopy(self.policy).eval()
        self.syncs += 1

    @torch.no_grad()
    def generate(self, prompts, images, num_generations, profiler=None):
        assert self.served is not None, "weights are synchronised before the first generation"
        self.calls += 1
        g = torch.Generator().manual_seed(self.calls)
        found, logps = [], []
        for prompt in prompts:
            ids = list(prompt)
            own = []
            while len(own) < self.length:
                logits = self.served(torch.tensor([ids])).logits[0, -1] / self.temperature
                token = int(torch.multinomial(logits.softmax(-1), 1, generator=g))
                own.append([float(logits.log_softmax(-1)[token]) + NOISE * float(torch.randn(1, generator=g))])
                ids.append(token)
                if token == self.tokenizer.eos_token_id:
                    break
            found.append(ids[len(prompt) :])
            logps.append(own)
        return prompts, found, logps, None
