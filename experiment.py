"""Train a sparse autoencoder (SAE) on activations, and hand it over to be scored.

    python experiment.py --out_dir=run_0

The setting `architecture` chooses the SAE. Data, files and scores are the laboratory's (`saelab`). Shapes: x [batch, d_in],
f [batch, d_sae].
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import saelab
from saelab import ops


class BaseSAE(nn.Module):
    """What all share. The decoder's rows have unit norm."""

    def __init__(self, d_in: int, d_sae: int) -> None:
        super().__init__()
        self.W_dec = nn.Parameter(torch.randn(d_sae, d_in))
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.b_dec = nn.Parameter(torch.zeros(d_in))
        self.set_decoder_norm_to_unit_norm()
        self.W_enc = nn.Parameter(self.W_dec.detach().clone().T)  # [d_in, d_sae]

    def pre_activations(self, x: Tensor) -> Tensor:
        """(x - b_dec) @ W_enc + b_enc, [batch, d_sae]."""
        return ops.encoder(x, self.W_enc, self.b_enc, self.b_dec)

    def encode(self, x: Tensor) -> Tensor:
        return torch.relu(self.pre_activations(x))

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))

    @torch.no_grad()
    def set_decoder_norm_to_unit_norm(self) -> None:
        """Called after each step of the optimizer."""
        ops.normalize_(self.W_dec)

    @torch.no_grad()
    def remove_gradient_parallel_to_decoder_directions(self) -> None:
        """Called before each step: what the normalisation would undo."""
        if self.W_dec.grad is not None:
            ops.remove_parallel_(self.W_dec.grad, self.W_dec)


class AutoEncoderTopK(BaseSAE):
    """f = TopK(ReLU(pre_activations))."""

    def __init__(self, d_in: int, d_sae: int, k: int) -> None:
        super().__init__(d_in, d_sae)
        self.k = k

    def top_k(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices, [batch, k] each."""
        return ops.top_k(pre, self.k)

    def encode(self, x: Tensor) -> Tensor:
        pre = self.pre_activations(x)
        return ops.dense(*self.top_k(pre), pre)

    def sparse_decode(self, values: Tensor, indices: Tensor) -> Tensor:
        """As decode(dense codes)."""
        return ops.sparse_decode(values, indices, self.W_dec) + self.b_dec


class BatchTopK(AutoEncoderTopK):
    """Training keeps the k x rows largest of a batch; by itself a row keeps what is above their threshold."""

    threshold: Tensor

    def __init__(self, d_in: int, d_sae: int, k: int) -> None:
        super().__init__(d_in, d_sae, k)
        self.register_buffer("threshold", torch.zeros(()))

    def batch_top_k(self, pre: Tensor) -> Tensor:
        """Codes [batch, d_sae] in training."""
        lowest = pre.flatten().topk(self.k * len(pre)).values[-1].detach().float()
        return torch.relu(pre.masked_fill(pre < lowest, 0.0))

    @torch.no_grad()
    def follow(self, f: Tensor, share: float) -> None:
        """Move the threshold towards the smallest code of a batch."""
        fires = f[f > 0]
        if len(fires):
            self.threshold.lerp_(fires.min().float(), share)

    def encode(self, x: Tensor) -> Tensor:
        pre = torch.relu(self.pre_activations(x))
        return torch.where(pre > self.threshold, pre, 0.0)


class CustomSAE(BaseSAE):
    """The standard SAE: f = ReLU(pre_activations), made sparse by an L1 penalty."""


@dataclass(frozen=True)
class TrainerConfig:
    """What the profile's settings leave open."""

    decay_share: float = 0.2
    """The last share of the steps, in which the learning rate falls to 0."""
    grad_clip: float = 1.0
    dead_share: float = 0.1
    """A latent is dead that has not fired in this share of all rows."""
    threshold_share: float = 0.02
    """How far BatchTopK's threshold follows that of a batch."""
    nested_shares: tuple[float, ...] = (1 / 8, 1 / 4, 1 / 2, 1.0)
    """Shares of the latents that Matryoshka's losses reconstruct with."""
    auxk_weight: float = 1 / 32
    """Weight of the TopK SAE's auxiliary loss: dead latents reconstruct what the others leave."""


class Trainer:
    """One step of training; subclasses say what the loss is."""

    architecture: str

    def __init__(self, sae: BaseSAE, settings: saelab.Settings, config: TrainerConfig) -> None:
        self.sae, self.settings, self.config = sae, settings, config
        self.step = 0
        self.rows_since_fired = torch.zeros_like(sae.b_enc, dtype=torch.long)
        self.dead_after_rows = config.dead_share * settings.steps * settings.batch_size
        self.base_lr = settings.lr
        self.optimizer = saelab.Adam(sae.parameters(), lr=self.base_lr, betas=(0.9, 0.999))

    def lr_factor(self, step: int) -> float:
        """Linear warm-up, constant, linear decay."""
        warm = (step + 1) / max(self.settings.warmup_steps, 1)
        decay = (self.settings.steps - step) / max(self.config.decay_share * self.settings.steps, 1)
        return max(min(warm, decay, 1.0), 0.0)

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A scalar, and in how many rows each latent fired ([d_sae])."""
        raise NotImplementedError

    def reconstruction_loss(self, x: Tensor, x_hat: Tensor) -> Tensor:
        """Squared error, summed over coordinates, mean over rows."""
        return (x - x_hat).pow(2).sum(dim=1).mean()

    @property
    def dead(self) -> Tensor:
        return self.rows_since_fired >= self.dead_after_rows

    def update(self, x: Tensor) -> dict[str, float | Tensor]:
        """Train on one batch; returns what is logged."""
        if self.step == 0:
            self.sae.b_dec.data = x.mean(dim=0)
        with ops.autocast(x, self.settings.autocast):
            loss, fired = self.loss(x)
        loss.backward()
        self.sae.remove_gradient_parallel_to_decoder_directions()
        self.optimizer.lr = self.base_lr * self.lr_factor(self.step)
        self.optimizer.step(max_norm=self.config.grad_clip)
        self.optimizer.zero_grad()
        self.sae.set_decoder_norm_to_unit_norm()

        self.rows_since_fired += len(x)
        self.rows_since_fired[fired > 0] = 0
        self.step += 1
        l0, dead = fired.sum() / len(x), self.dead.float().mean()
        return {"loss": loss.detach(), "l0": l0, "dead": dead, "lr": self.optimizer.lr}


class TrainerTopK(Trainer):
    """Reconstruction, and the auxiliary loss that revives dead latents."""

    architecture = "topk"
    sae: AutoEncoderTopK

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pre = self.sae.pre_activations(x)
        values, indices = self.sae.top_k(pre)
        x_hat = self.sae.sparse_decode(values, indices)
        loss = self.reconstruction_loss(x, x_hat) + self.config.auxk_weight * self.auxk_loss(x - x_hat, pre)
        return loss, ops.firing(values, indices, pre.shape[1])

    def auxk_loss(self, residual: Tensor, pre: Tensor) -> Tensor:
        """Squared error of the residual as the most active dead latents reconstruct it."""
        dead = self.dead.nonzero().flatten()
        if len(dead) == 0:
            return residual.new_zeros(())
        values, indices = ops.top_k(pre[:, dead], min(residual.shape[1] // 2, len(dead)))
        dead_f = ops.dense(values, indices, pre[:, dead])  # [batch, dead latents]
        return self.reconstruction_loss(residual.detach(), dead_f @ self.sae.W_dec[dead])


class TrainerBatchTopK(TrainerTopK):
    """The same with the largest codes of the batch."""

    architecture = "batchtopk"
    sae: BatchTopK

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pre = self.sae.pre_activations(x)
        f = self.sae.batch_top_k(pre)
        self.sae.follow(f, max(self.config.threshold_share, 1 / (self.step + 1)))
        x_hats = self.reconstructions(f)
        nested = torch.stack([self.reconstruction_loss(x, x_hat) for x_hat in x_hats]).mean()
        return nested + self.config.auxk_weight * self.auxk_loss(x - x_hats[-1], pre), (f > 0).sum(dim=0)

    def reconstructions(self, f: Tensor) -> list[Tensor]:
        """What is to come close to x; the last one by all latents."""
        return [self.sae.decode(f)]


class TrainerMatryoshka(TrainerBatchTopK):
    """Each of several nested dictionaries, the first latents, reconstructs by itself; the mean of their losses."""

    architecture = "matryoshka"

    def reconstructions(self, f: Tensor) -> list[Tensor]:
        sizes = [max(round(share * f.shape[1]), 1) for share in self.config.nested_shares]
        x_hat, x_hats = self.sae.b_dec, []
        for start, end in zip([0, *sizes], sizes, strict=False):
            x_hat = x_hat + f[:, start:end] @ self.sae.W_dec[start:end]
            x_hats.append(x_hat)
        return x_hats


class CustomTrainer(Trainer):
    """Reconstruction and an L1 penalty on the codes, which is warmed up."""

    architecture = "standard"

    def loss(self, x: Tensor) -> tuple[Tensor, Tensor]:
        f = self.sae.encode(x)
        loss = self.reconstruction_loss(x, self.sae.decode(f))
        warm = min((self.step + 1) / max(self.settings.warmup_steps, 1), 1.0)
        return loss + warm * self.settings.l1_penalty * f.abs().sum(dim=1).mean(), (f > 0).sum(dim=0)


def build(settings: saelab.Settings) -> Trainer:
    """The SAE that `architecture` names, in its trainer."""
    config = TrainerConfig()
    if settings.architecture == "topk":
        return TrainerTopK(AutoEncoderTopK(settings.d_in, settings.dict_size, settings.k), settings, config)
    if settings.architecture == "standard":
        return CustomTrainer(CustomSAE(settings.d_in, settings.dict_size), settings, config)
    trainer = TrainerMatryoshka if settings.architecture == "matryoshka" else TrainerBatchTopK
    return trainer(BatchTopK(settings.d_in, settings.dict_size, settings.k), settings, config)


def main(out_dir: Path) -> None:
    settings = saelab.load_settings(Path(__file__).parent)
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    saelab.keep_memory()
    out_dir.mkdir(parents=True, exist_ok=True)

    with saelab.torch_device(settings.device):
        trainer = build(settings)
    sae, rows = trainer.sae, 0
    with saelab.TrainingLog(out_dir, settings) as log:
        for x in saelab.activations(settings):
            report = trainer.update(x)
            log.step(**report)
            rows += len(x)
        seconds = log.seconds

    metrics = {"final_loss": float(report["loss"]), "train_seconds": seconds}
    metrics["step_ms"] = 1000 * seconds / trainer.step
    used = {  # read back from what was trained
        "architecture": trainer.architecture,
        "d_in": sae.W_dec.shape[1],
        "dict_size": sae.W_dec.shape[0],
        "k": sae.k if isinstance(sae, AutoEncoderTopK) else None,
        "l1_penalty": settings.l1_penalty if isinstance(trainer, CustomTrainer) else None,
        "lr": trainer.base_lr,
        "warmup_steps": settings.warmup_steps,
        "decay_share": trainer.config.decay_share,
        "l1_warmup_steps": settings.warmup_steps if isinstance(trainer, CustomTrainer) else None,
        "steps": trainer.step,
        "planned_steps": settings.steps,
        "batch_size": rows // trainer.step,
        "train_tokens": rows,
        **settings.data.scale,
        "threads": torch.get_num_threads(),
        "autocast": settings.autocast,
    }
    saelab.hand_over(out_dir, sae, used, metrics)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out_dir", type=Path, required=True)
    main(parser.parse_args().out_dir)
