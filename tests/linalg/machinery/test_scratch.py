"""Memory that threads keep: shared by name within a thread, never with results."""

from __future__ import annotations

import threading

import torch

from gcp_repro.linalg.machinery.parallel import CHUNK_BYTES
from gcp_repro.linalg.machinery.scratch import KEPT_BYTES, scratch
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.metalayers.inputs import features_of, gradient_of

LIKE = torch.zeros(1, dtype=torch.float64)


def test_one_block_a_name_and_thread():
    first = scratch("of this test", LIKE, 3, 4)
    assert first.dtype == torch.float64
    assert scratch("of this test", LIKE, 2, 2, dtype=torch.float32).data_ptr() == first.data_ptr()
    assert scratch("another of this test", LIKE, 3, 4).data_ptr() != first.data_ptr()
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(scratch("of this test", LIKE, 3, 4)))
    thread.start()
    thread.join()
    assert elsewhere[0].data_ptr() != first.data_ptr()


def test_large_blocks_and_other_devices_are_not_kept():
    assert KEPT_BYTES >= CHUNK_BYTES  # the largest matrix stack of a chunk
    too_large = KEPT_BYTES // 8 + 1
    assert scratch("large", LIKE, too_large).data_ptr() != scratch("large", LIKE, too_large).data_ptr()
    assert scratch("meta", LIKE.to("meta"), 2, 3).is_meta


def test_memory_of_inference_mode_can_be_written_outside_it():
    with torch.inference_mode():
        scratch("inference", LIKE, 2)
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    scratch("inference", LIKE, 2).copy_(x.detach()).add_(1)


def test_results_of_one_call_survive_the_next():
    for name in META_LAYERS:
        layer = build_meta_layer(name)
        results = gradient_of(layer, features_of(3, 5, 3, 3))
        copies = [result.clone() for result in results]
        gradient_of(layer, features_of(3, 5, 3, 3, seed=1))
        for result, copy in zip(results, copies, strict=True):
            assert torch.equal(result, copy), name
