"""Elementwise FLOPs: one convention for everything that is not a multiply-add product.

The weights are a convention, stated once here; they count work, not the cost of a particular instruction.

=============================================  =====================================================================
family                                         operations per element (real; complex)
=============================================  =====================================================================
pointwise function, addition, product          1; addition 2, product 6, product with a real 2, quotient 11, any other
                                               function 2 (one per part) unless listed in ``POINTWISE_WEIGHTS``
derivative of a pointwise function             2 (the derivative, times the gradient)
sum, mean, extremum, cumulative sum            1; 2 per input element, plus one division per output element of a mean
product, cumulative product                    1; 6 per input element
vector norm                                    2; 4 per input element (square and add)
variance, standard deviation                   3 per input element (centre, square, add)
logsumexp                                      4 per input element (maximum, subtract, exponential, add)
softmax, log-softmax                           5 per element; backward 4
layer, group and batch norm                    7 per element; backward 13; fused RMS norm 4 and 9
Fourier transform of N points                  5 N log2 N; 2.5 N log2 N to or from real numbers
fused Adam / AdamW                             14 per parameter; fused SGD 6
accumulating scatter, embedding gradient       1; 2 per source element
dropout in one operator                        2 per element (mask and scale)
comparison, selection, sorting, integer and    0
Boolean work, copy, cast, view, factory,
gather, random numbers, complex conjugation
=============================================  =====================================================================
"""

from __future__ import annotations

# Per output element of a pointwise operator: (real, complex).
POINTWISE_WEIGHTS: dict[str, tuple[int, int]] = {
    "abs": (1, 4),  # two squares, an addition, a root
    "sgn": (1, 6),  # absolute value and two divisions
    "reciprocal": (1, 5),
    "polar": (1, 4),  # cosine, sine, two products
    "exp": (1, 5),  # exponential, cosine, sine, two products
    "pow": (1, 6),
    "floor_divide": (1, 1),
    "square": (1, 6),
    "sigmoid": (1, 12),
    "tanh": (1, 12),
    "addcmul": (2, 8),
    "addcdiv": (2, 13),
    "lerp": (3, 6),
    "glu": (2, 2),
    "glu_backward": (4, 4),
    "log_sigmoid_forward": (1, 1),
    "prelu": (1, 1),
    "_prelu_kernel": (1, 1),
    "_prelu_kernel_backward": (2, 2),
    "softplus_backward": (2, 2),
    "elu_backward": (2, 2),
    "leaky_relu_backward": (2, 2),
    "log_sigmoid_backward": (2, 2),
    "mse_loss_backward": (2, 2),
    "native_dropout": (2, 4),
    "native_dropout_backward": (2, 4),
    "_amp_foreach_non_finite_check_and_unscale": (1, 2),
}

# Per element of the first tensor argument: (real, complex).
INPUT_WEIGHTS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("sum", "mean", "nansum", "cumsum", "_sparse_sum", "_coalesce"), (1, 2)),
    **dict.fromkeys(("amax", "amin", "max", "min", "argmax", "argmin", "cummax", "cummin"), (1, 1)),
    "aminmax": (2, 2),
    **dict.fromkeys(("prod", "cumprod"), (1, 6)),
    **dict.fromkeys(("linalg_vector_norm", "norm"), (2, 4)),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), (3, 6)),
    **dict.fromkeys(("logsumexp", "logcumsumexp"), (4, 8)),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), (5, 5)),
    **dict.fromkeys(("_softmax_backward_data", "_log_softmax_backward_data"), (4, 4)),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), (7, 7)),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_batch_norm_with_update"), (7, 7)),
    **dict.fromkeys(("_native_batch_norm_legit", "_native_batch_norm_legit_no_training"), (7, 7)),
    **dict.fromkeys(("native_layer_norm_backward", "native_group_norm_backward"), (13, 13)),
    **dict.fromkeys(("native_batch_norm_backward", "cudnn_batch_norm_backward", "batch_norm_backward"), (13, 13)),
    "_fused_rms_norm": (4, 4),
    "_fused_rms_norm_backward": (9, 9),
    "embedding_dense_backward": (1, 2),
    "mse_loss": (3, 3),
}

# Each element of the first argument is added somewhere: windows averaged, and what undoes a copy into windows or rims.
_WINDOWS = """
    avg_pool2d avg_pool3d avg_pool2d_backward avg_pool3d_backward max_pool2d_with_indices_backward
    max_pool3d_with_indices_backward col2im reflection_pad1d_backward reflection_pad2d_backward
    reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
    upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward
"""
INPUT_WEIGHTS.update(dict.fromkeys(_WINDOWS.split(), (1, 2)))

# Per element of the named argument, one addition each.
SOURCE_ARGUMENTS = {
    "index_add": "source",
    "scatter_add": "src",
    "scatter_reduce": "src",
    "index_put": "values",
    "_index_put_impl": "values",
    "nll_loss_forward": "target",
    "nll_loss_backward": "target",
}

OPTIMIZER_WEIGHTS = {"_fused_adam": 14, "_fused_adamw": 14, "_fused_sgd": 6}

# No floating-point arithmetic. Views, also in place or copied, are recognised and need no entry.
_COPIES = """
    clone copy _to_copy _copy_from lift _unsafe_view cat stack constant_pad_nd roll flip repeat repeat_interleave tril
    triu resize set unfold_backward slice_backward select_backward diagonal_backward slice_scatter select_scatter
    diagonal_scatter as_strided_scatter view_copy expand_copy permute_copy conj_physical _conj_physical complex
    _foreach_copy _local_scalar_dense equal record_stream _pin_memory is_pinned _amp_update_scale unsafe_split
    unsafe_split_with_sizes unsafe_chunk _cudnn_rnn_flatten_weight mkldnn_reorder_conv2d_weight to_mkldnn
    _jagged_to_padded_dense_forward _padded_dense_to_jagged_forward _nested_view_from_jagged_copy im2col
    reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d
    upsample_nearest1d upsample_nearest2d upsample_nearest3d
"""
_SPARSE = """
    is_coalesced _coalesced sparse_mask _sparse_mask_projection _to_sparse _to_sparse_csr _to_sparse_csc _to_sparse_bsr
    _to_sparse_bsc _to_dense _nnz _dimI _dimV _indices _values copy_sparse_to_sparse sparse_resize
    sparse_resize_and_clear _sparse_coo_tensor_with_dims _sparse_coo_tensor_with_dims_and_tensors
    _sparse_compressed_tensor_unsafe _validate_sparse_coo_tensor_args _validate_sparse_compressed_tensor_args
    _convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo
"""
_FACTORIES = """
    empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros zeros_like new_zeros ones ones_like
    new_ones full full_like new_full fill zero scalar_tensor _foreach_zero _efficientzerotensor arange linspace logspace
    eye tril_indices triu_indices randperm rand rand_like randn randn_like randint randint_like normal uniform bernoulli
    exponential random log_normal cauchy geometric multinomial
"""
_SELECTIONS = """
    embedding index _unsafe_index index_select gather take masked_select masked_fill masked_scatter where scatter
    index_fill index_copy nonzero nonzero_static sort topk kthvalue median nanmedian mode searchsorted bucketize
    unique_dim _unique2 unique_consecutive isin any all bincount histc count_nonzero is_same_size _fused_sdp_choice
    _assert_async _assert_scalar sym_constrain_range _linalg_check_errors max_pool2d_with_indices
    max_pool3d_with_indices
"""
FREE = frozenset(f"{_COPIES} {_SPARSE} {_FACTORIES} {_SELECTIONS}".split())

# Namespaces of bookkeeping: they are neither arithmetic nor device work.
FREE_NAMESPACES = frozenset({"profiler", "prim"})
