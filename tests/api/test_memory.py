"""Parts of one call's memory, derived by hand."""

import functools

import torch

import pamprof

WIDTH, ROWS, FLOAT32 = 256, 8, 4
WEIGHT = WIDTH * WIDTH * FLOAT32
ACTIVATION = ROWS * WIDTH * FLOAT32


def test_a_forward_pass_keeps_its_weight_its_input_and_its_output():
    layer = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    with torch.no_grad():
        found = pamprof.peak_memory(layer, torch.randn(ROWS, WIDTH))
    assert (found.parameter_bytes, found.input_bytes, found.short_lived_bytes) == (WEIGHT, ACTIVATION, ACTIVATION)
    assert found.peak_bytes == WEIGHT + 2 * ACTIVATION
    assert found.optimizer_bytes == found.gradient_bytes == 0


def test_a_training_step_finds_the_module_and_the_optimizer_that_it_names():
    layer = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)

    def train(inputs):
        optimizer.zero_grad()
        layer(inputs).square().sum().backward()
        optimizer.step()

    found = pamprof.peak_memory(train, torch.randn(ROWS, WIDTH))
    assert (found.parameter_bytes, found.optimizer_bytes) == (WEIGHT, WEIGHT)
    # Fullest while the weight's gradient is made: weight, momentum, gradient, input, gradient of the output, scalars.
    assert 0 <= found.peak_bytes - (3 * WEIGHT + 2 * ACTIVATION) < 64
    assert found.gradient_bytes + found.short_lived_bytes >= WEIGHT + ACTIVATION


def test_a_method_and_a_partial_call_belong_to_their_module():
    layer = torch.nn.Linear(WIDTH, WIDTH, bias=False)
    inputs = torch.randn(ROWS, WIDTH)
    for call in (layer.forward, functools.partial(layer, inputs)):
        arguments = () if isinstance(call, functools.partial) else (inputs,)
        assert pamprof.peak_memory(call, *arguments).parameter_bytes == WEIGHT
