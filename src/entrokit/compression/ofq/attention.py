"""QKR: the product of query and key weights of a head, quantised as one matrix (arXiv 2302.02210).

Of head h, with C features and d = C / H,

    M_h = W_q,hᵀ W_k,h       C × C, of the weights as they are trained
    S_h = X_q M_hq X_qᵀ / √d  M_hq: StatsQ of every row of M_h; X_q: the input, quantised or not

so that dL/dW_k,h = W_q,h dL/dM_h does not depend on codes of W_q, and no code of W_k is judged by a W_q that flips.
It stores and multiplies H C² numbers where queries and keys took 2 C², so that a head of few features pays most. It has
no place for rotary embeddings, nor for norms or a bias of the queries.
"""

from __future__ import annotations

import math
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.utils import parametrize

from ..arguments import check_count, check_flag, check_number
from .learned_step import ActivationQuantizer
from .masks import called_as_torch_s, logit_masks, masked_softmax
from .quantizers import StatsQuantizer


class ProductAttention(nn.Module):
    """Self-attention ``[B, N, C]`` to ``[B, N, C]`` whose scores are X M_h Xᵀ / √d, M_h a parameter.

    What a `QKReparamAttention` becomes when its training is over. It is called with its input alone, and gives its
    output alone; or as `torch.nn.MultiheadAttention` is by a `TransformerEncoderLayer`, see `forward`.

    Args:
        dim: C. num_heads: H, a divisor of C. dropout: of attention, in training.
        bias: of values and of the output. activation_bits: of the input, of M Xᵀ, of values, of attention and of the
            output's input, each by an `ActivationQuantizer`; None leaves them as they are.
        tokens: N, which those quantisers are for. batch_first: as of `torch.nn.MultiheadAttention`: ``[B, N, C]``, or
            ``[N, B, C]`` if False. Here True is the default.

    Raises:
        ValueError: heads that do not divide C, only one of activation_bits and tokens, a dropout outside 0 to 1, or
            what is no integer or flag where one is meant.
    """

    # A TransformerEncoderLayer asks for both, and takes no fast path of its own then.
    in_proj_bias = None
    _qkv_same_embed_dim = False

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        activation_bits: int | None = None,
        tokens: int | None = None,
        batch_first: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("num_heads", num_heads)):
            check_count(f"{type(self).__name__}: {name}", value, 0)
        for name, flag in (("bias", bias), ("batch_first", batch_first)):
            check_flag(f"{type(self).__name__}: {name}", flag)
        check_number(f"{type(self).__name__}: dropout", dropout)
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"{type(self).__name__}: dropout is from 0 to 1, got {dropout}")
        if num_heads < 1 or dim < 1 or dim % num_heads:
            raise ValueError(f"{type(self).__name__}: {num_heads} heads do not divide {dim} features")
        if (activation_bits is None) != (tokens is None):
            raise ValueError(
                f"{type(self).__name__}: activation_bits and tokens belong together, got {activation_bits} and {tokens}"
            )
        self.dim, self.num_heads, self.dropout, self.batch_first = dim, num_heads, dropout, batch_first
        self.v, self.proj = nn.Linear(dim, dim, bias=bias), nn.Linear(dim, dim, bias=bias)
        self.input: nn.Module
        self.keys: nn.Module
        self.values: nn.Module
        self.attention: nn.Module
        self.output: nn.Module
        self.input, self.keys, self.values, self.attention, self.output = (nn.Identity() for _ in range(5))
        if activation_bits is not None and tokens is not None:
            self.input = ActivationQuantizer(activation_bits, tokens, dim)
            self.keys = ActivationQuantizer(activation_bits, tokens * num_heads, dim)
            self.values = ActivationQuantizer(activation_bits, dim, dim, dim=-1)
            self.attention = ActivationQuantizer(activation_bits, tokens, signed=False)
            self.output = ActivationQuantizer(activation_bits, tokens, dim)
        self._own_products()

    def _own_products(self) -> None:
        self.qk = nn.Parameter(torch.zeros(self.num_heads * self.dim, self.dim))

    def products(self) -> Tensor:
        """M of every head, ``[H·C, C]``: rows belong to queries, columns to keys."""
        return self.qk

    def scores(self, x: Tensor) -> Tensor:
        """Attention's logits ``[B, H, N, N]`` of inputs ``[B, N, C]`` (quantised or not), queries first."""
        B, N, C = x.shape
        heads = self.products().view(self.num_heads, C, C)
        keys = torch.einsum("hdc,bmc->bmhd", heads, x)
        keys = self.keys(keys.reshape(B, N * self.num_heads, C)).view(B, N, self.num_heads, C)
        scores: Tensor = torch.einsum("bnd,bmhd->bhnm", x, keys)
        scale: float = (self.dim // self.num_heads) ** -0.5
        return scores * scale

    def forward(
        self,
        x: Tensor,
        key: Tensor | None = None,
        value: Tensor | None = None,
        *,
        attn_mask: Tensor | None = None,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = False,
        is_causal: bool = False,
    ) -> Tensor | tuple[Tensor, None]:
        """``[B, N, C]`` of ``[B, N, C]``, tokens first if not ``batch_first``.

        Args:
            key, value: left out, or ``x`` itself: then the output is the first of two, as torch's, the second None.
            need_weights: False. is_causal: a hint about `attn_mask`, as torch's, and not followed.
            attn_mask, key_padding_mask: as of `torch.nn.MultiheadAttention`: ``[N, N]`` or ``[B·H, N, N]``, and
                ``[B, N]``; bool, True for what is not attended to, or floats that are added to the logits. A token that
                may attend to nothing gets no values, where torch gives NaN.

        Raises:
            ValueError: an input or a mask of another shape, other keys or values, weights asked for, or is_causal
                without a mask. TypeError: a mask of neither bools nor floats.
        """
        given = called_as_torch_s(type(self).__name__, x, key, value, need_weights, is_causal and attn_mask is None)
        if x.ndim != 3 or x.shape[2] != self.dim:
            shape = f"[B, N, {self.dim}]" if self.batch_first else f"[N, B, {self.dim}]"
            raise ValueError(f"{type(self).__name__}: expected {shape}, got shape {list(x.shape)}")
        x = x if self.batch_first else x.transpose(0, 1)
        B, N, C = x.shape
        masks = logit_masks(type(self).__name__, attn_mask, key_padding_mask, B, self.num_heads, N)
        x = self.input(x)
        attention = self.attention(masked_softmax(self.scores(x), masks))
        attention = dropout(attention, self.dropout, self.training)
        values = self.values(self.v(x)).view(B, N, self.num_heads, -1).transpose(1, 2)
        found: Tensor = self.proj(self.output((attention @ values).transpose(1, 2).reshape(B, N, C)))
        found = found if self.batch_first else found.transpose(0, 1)
        return (found, None) if given else found


class QKReparamAttention(ProductAttention):
    """Self-attention whose M_h = W_q,hᵀ W_k,h is quantised by StatsQ, a scale for every row of every M_h.

    ``v`` and ``proj`` are ordinary layers; `quantize_model` quantises them with the rest of a model.

    Args:
        bits: of M, 2 to 8. Others: see `ProductAttention`.

    Raises:
        ValueError: bits outside 2 to 8; or see `ProductAttention`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        bits: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        activation_bits: int | None = None,
        tokens: int | None = None,
        batch_first: bool = True,
    ) -> None:
        super().__init__(
            dim,
            num_heads,
            dropout=dropout,
            bias=bias,
            activation_bits=activation_bits,
            tokens=tokens,
            batch_first=batch_first,
        )
        self.quantizer = StatsQuantizer(bits)

    def _own_products(self) -> None:
        self.q_weight, self.k_weight = (nn.Parameter(torch.empty(self.dim, self.dim)) for _ in range(2))
        for weight in (self.q_weight, self.k_weight):
            nn.init.xavier_uniform_(weight)

    def latent_products(self) -> Tensor:
        """M of every head before it is quantised, ``[H·C, C]``."""
        q, k = (w.view(self.num_heads, -1, self.dim) for w in (self.q_weight, self.k_weight))
        return (q.mT @ k).reshape(-1, self.dim)

    def products(self) -> Tensor:
        return self.quantizer(self.latent_products())  # type: ignore[no-any-return]

    def deployed(self) -> ProductAttention:
        """The same attention with M as it is quantised now, and nothing to train it by; other layers are shared."""
        with torch.no_grad():
            products = self.products()
        plain = ProductAttention(self.dim, self.num_heads, dropout=self.dropout, batch_first=self.batch_first)
        plain.qk = nn.Parameter(products)
        for name in ("v", "proj", "input", "keys", "values", "attention", "output"):
            setattr(plain, name, getattr(self, name))
        return plain.train(self.training)

    @classmethod
    def from_attention(
        cls,
        module: nn.Module,
        bits: int,
        *,
        drop_query_bias: bool = False,
        activation_bits: int | None = None,
        tokens: int | None = None,
    ) -> Self:
        """Of a float self-attention: `torch.nn.MultiheadAttention`, or one with ``qkv``, ``proj`` and ``num_heads``.

        Weights are copied, and `batch_first` is the module's; one of the second kind takes ``[B, N, C]``. A bias of the
        keys adds the same to all logits of a query, which softmax does not see, so it goes without a trace. A bias of
        the queries does not.

        Args:
            module: of the second kind, as vision transformers have it: `qkv` a Linear C to 3 C, `proj` C to C.
            bits: of M. drop_query_bias: leaves out a bias of the queries that is not 0, as the official code does.
            activation_bits, tokens: see `ProductAttention`.

        Raises:
            ValueError: a bias of the queries; norms of queries or keys, a bias of positions, or other parameters and
                buffers beside the two layers; another scale than 1/√d; keys and values of other sizes, or appended
                ones; dropout of the output; layers of other shapes.
            TypeError: a module of neither kind.
        """
        if any(parametrize.is_parametrized(layer) for layer in module.modules()):
            raise ValueError(
                "QKReparamAttention: a layer is quantised already, or otherwise parametrised; call this before "
                "quantize_model"
            )
        check_flag("QKReparamAttention: drop_query_bias", drop_query_bias)
        batch_first = module.batch_first if isinstance(module, nn.MultiheadAttention) else True
        found = _of_multihead(module) if isinstance(module, nn.MultiheadAttention) else _of_fused(module)
        weight, bias, proj, heads, p = found
        dim = weight.shape[1]
        if weight.shape != (3 * dim, dim) or proj.weight.shape != (dim, dim):
            raise ValueError(
                "QKReparamAttention: queries, keys and values of one size are needed, C to 3 C and C to C; got weights "
                f"{list(weight.shape)} and {list(proj.weight.shape)}"
            )
        if bias is not None and bool(bias[:dim].any()) and not drop_query_bias:
            raise ValueError(
                "QKReparamAttention: the queries have a bias that is not 0, and a product of weights has no place for "
                "it; train without (qkv_bias=False), or leave it out by drop_query_bias=True, which changes the model"
            )
        made = cls(dim, heads, bits, dropout=p, activation_bits=activation_bits, tokens=tokens, batch_first=batch_first)
        made.to(weight.device, weight.dtype)
        with torch.no_grad():
            for target, rows in zip((made.q_weight, made.k_weight, made.v.weight), weight.chunk(3), strict=True):
                target.copy_(rows)
            made.v.bias.zero_() if bias is None else made.v.bias.copy_(bias[2 * dim :])
            made.proj.weight.copy_(proj.weight)
            made.proj.bias.zero_() if proj.bias is None else made.proj.bias.copy_(proj.bias)
        return made.train(module.training)


_Found = tuple[Tensor, Tensor | None, nn.Linear, int, float]


def _of_multihead(module: nn.MultiheadAttention) -> _Found:
    if module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn:
        raise ValueError(
            "QKReparamAttention: keys and values of other sizes than queries, bias_k, bias_v and add_zero_attn have no "
            "place in a product of weights"
        )
    return module.in_proj_weight, module.in_proj_bias, module.out_proj, module.num_heads, module.dropout


def _of_fused(module: nn.Module) -> _Found:
    qkv, proj, heads = (getattr(module, name, None) for name in ("qkv", "proj", "num_heads"))
    if not isinstance(qkv, nn.Linear) or not isinstance(proj, nn.Linear) or not isinstance(heads, int):
        raise TypeError(
            f"QKReparamAttention: a {type(module).__name__} is no MultiheadAttention and has no layers qkv and proj "
            "beside num_heads; copy its weights by hand into q_weight, k_weight, v and proj"
        )
    for name in ("q_norm", "k_norm"):
        if not isinstance(getattr(module, name, nn.Identity()), nn.Identity):
            raise ValueError(f"QKReparamAttention: {name} stands between queries and keys, and no product has it")
    own = [name for name, _ in (*module.named_parameters(), *module.named_buffers())]
    others = [name for name in own if name.partition(".")[0] not in ("qkv", "proj")]
    if others:
        raise ValueError(
            f"QKReparamAttention: {type(module).__name__} has {', '.join(others[:5])} beside qkv and proj, as biases "
            "of positions are, and a product of weights has no place for them"
        )
    scale, usual = getattr(module, "scale", None), (qkv.in_features / max(heads, 1)) ** -0.5
    if isinstance(scale, int | float) and not math.isclose(scale, usual, rel_tol=1e-6):
        raise ValueError(f"QKReparamAttention: logits are scaled by {scale}, and here by 1/√d = {usual:.6g}")
    rates = [getattr(getattr(module, name, None), "p", 0.0) for name in ("attn_drop", "proj_drop")]
    if rates[1]:
        raise ValueError("QKReparamAttention: dropout of the output (proj_drop) is not kept; put it behind the layer")
    return qkv.weight, qkv.bias, proj, heads, rates[0]
