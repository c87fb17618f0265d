"""Training loops of others under ``pamprof.profile``: steps, micro-batches and FLOPs as derived by hand."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import pamprof
from pamprof.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # what frameworks say of versions is not ours

ROWS, WIDTH, STEPS, MICRO_BATCHES = 8, 64, 6, 2
# Forward, and the gradient of the weight; the input needs none.
FLOPS = MICRO_BATCHES * 2 * 2 * ROWS * WIDTH * WIDTH


class Loss(nn.Module):
    """A linear layer without bias that returns its loss, as ``transformers.Trainer`` wants it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, x):
        return {"loss": self.layer(x).square().mean()}


def rows():
    return torch.randn(STEPS * MICRO_BATCHES * ROWS, WIDTH)


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def holds_what_was_trained(run):
    """Whether every optimizer step but the first two has a time, and the counted one has all its micro-batches."""
    record = run.record
    assert record.untimed_steps == 2
    assert len(record.step_seconds) == STEPS - 2
    assert record.tokens_per_step == MICRO_BATCHES * ROWS
    assert record.flops.matrix_flop_count == FLOPS
    assert record.parameter_count == WIDTH * WIDTH
    assert record.memory.parameter_bytes == record.memory.optimizer_bytes == WIDTH * WIDTH * 4
    assert record.memory.unaccounted_bytes == 0
    return True


def profile():
    return pamprof.profile(tokens=ROWS, accumulate=MICRO_BATCHES)


def test_accelerate_steps_once_its_micro_batches_are_through():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=MICRO_BATCHES)
    model = Loss()
    model, optimizer, loader = accelerator.prepare(
        model, optimizer_of(model), DataLoader(TensorDataset(rows()), batch_size=ROWS)
    )
    with profile() as run:
        for (inputs,) in loader:
            with accelerator.accumulate(model):
                accelerator.backward(model(inputs)["loss"])
                optimizer.step()
                optimizer.zero_grad()
    assert holds_what_was_trained(run)


def test_lightning_is_profiled_around_fit(tmp_path):
    lightning = pytest.importorskip("lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Loss()

        def training_step(self, batch, index):
            return self.model(batch[0])["loss"]

        def configure_optimizers(self):
            return optimizer_of(self)

    trainer = lightning.Trainer(
        max_steps=STEPS, accumulate_grad_batches=MICRO_BATCHES, accelerator="cpu", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with profile() as run:
        trainer.fit(Module(), DataLoader(TensorDataset(rows()), batch_size=ROWS))
    assert holds_what_was_trained(run)


def test_a_callback_profiles_the_trainer_of_transformers(tmp_path):
    pytest.importorskip("accelerate")
    transformers = pytest.importorskip("transformers")

    class Profiled(transformers.TrainerCallback):
        def __init__(self):
            self.run = profile()

        def on_train_begin(self, args, state, control, **rest):
            self.run.start()

        def on_train_end(self, args, state, control, **rest):
            self.run.stop()

    callback, model = Profiled(), Loss()
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=STEPS, per_device_train_batch_size=ROWS, report_to=[], use_cpu=True,
            gradient_accumulation_steps=MICRO_BATCHES, max_grad_norm=0, save_strategy="no", logging_strategy="no",
            disable_tqdm=True, remove_unused_columns=False,
        ),
        train_dataset=[{"x": row} for row in rows()],
        optimizers=(optimizer_of(model), None),
        callbacks=[callback],
    )  # fmt: skip
    trainer.train()
    assert holds_what_was_trained(callback.run)


def test_what_is_started_is_stopped_once():
    run = pamprof.profile()
    with pytest.raises(UsageError, match=r"run.start\(\) began"):
        run.stop()
    assert run.start() is run
    run.stop()
    assert run.record.step_seconds == ()
    with pytest.raises(UsageError, match="call it once"):
        run.stop()
    with pytest.raises(UsageError, match="of one loop"):
        run.start()
