"""The generator of oneDNN's constants: what C would make of the headers."""

import pytest

pytest.importorskip("trivet.onednn", exc_type=ImportError)

import make_dnnl_constants as made
from trivet import registry

HEADER = """
/// Status values.
typedef enum {
    /// It went well
    dnnl_success = 0,
    /// Arguments are wrong
    dnnl_invalid_arguments = 2,
} dnnl_status_t;
typedef enum {
    dnnl_a, ///< counted from 0
    /* skipped, = 7 */
    dnnl_b = 0x10U,
    dnnl_c,
#ifdef DNNL_EXPERIMENTAL
    dnnl_d,
#endif
    dnnl_e = dnnl_b | 0x1u,
    dnnl_last = 0x7fff,
} dnnl_prop_kind_t;
#define DNNL_ARG_SRC_0 1
#define DNNL_ARG_SRC DNNL_ARG_SRC_0
dnnl_status_t DNNL_API dnnl_post_ops_append_sum(
        dnnl_post_ops_t post_ops, float scale, int32_t zero_point,
        const dnnl_dims_t strides, const_dnnl_memory_desc_t const *descs, unsigned flags,
        size_t size, dnnl_dim_t group);
"""


def test_enumerators_are_evaluated():
    values = made.enums(HEADER)["prop_kind"]
    assert values == {"dnnl_a": 0, "dnnl_b": 16, "dnnl_c": 17, "dnnl_e": 17, "dnnl_last": 32767}


def test_statuses_have_their_sentence():
    assert made.meanings(HEADER)[2] == ("invalid_arguments", "Arguments are wrong")


def test_arguments_may_be_defined_by_others():
    assert made.arguments(HEADER) == {"ARG_SRC_0": 1, "ARG_SRC": 1}


def test_a_letter_stands_for_each_parameter():
    assert made.signatures(HEADER) == {"dnnl_post_ops_append_sum": "pfippunq"}


def test_every_kernel_of_oneDNN_is_one_of_the_reference_or_joins_some():
    names = {name for name, backend in registry._KERNELS if backend == "trivet.reference"}
    for name, backend in registry._KERNELS:
        if backend == "trivet.onednn":
            assert all(part in names for part in name.split("+")), name
