#!/usr/bin/env python3
"""Writes the cases of this folder: small networks of diffusers with random weights, and what diffusers makes of them.

    python3 export_diffusers.py [NAME...]

A case is a folder as diffusers saves it, and expected.safetensors: inputs x, t and labels, the network's output y, and
the end of a run of ten steps, from torch.manual_seed(0). Needs PyTorch and diffusers.
"""
import json
import pathlib
import sys

import diffusers
import torch
from safetensors.torch import load_file, save_file

CLASSIC = dict(attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6)


def blocks(attention, levels):
    down = ["AttnDownBlock2D" if level in attention else "DownBlock2D" for level in range(levels)]
    return dict(down_block_types=down, up_block_types=[b.replace("Down", "Up") for b in reversed(down)])


def network(widths, attention, **options):
    base = dict(sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=4, attention_head_dim=4)
    return base | dict(block_out_channels=widths) | blocks(attention, len(widths)) | options


CASES = {  # name: the network, the scheduler, how the weights are stored
    "paper": (network((4, 8), (1,), **CLASSIC), dict(variance_type="fixed_large"), {}),
    "defaults": (network((4, 8, 8), (1, 2)), dict(), {}),
    "grey": (network((4, 8), (), sample_size=[8, 12], in_channels=1, out_channels=1), dict(beta_schedule="squaredcos_cap_v2"), {}),
    "four_channels": (network((4, 8), (0,), in_channels=4, out_channels=4, dropout=0.1, attention_head_dim=2),
                      dict(beta_schedule="scaled_linear", beta_start=0.0015, beta_end=0.0195, clip_sample=False), {}),
    "classes": (network((4, 8), (1,), num_class_embeds=5), dict(prediction_type="v_prediction", rescale_betas_zero_snr=True,
                                                                timestep_spacing="trailing"), {}),
    "widths": (network((4, 6, 10), (1,), norm_num_groups=2, attention_head_dim=2, act_fn="swish"), dict(prediction_type="sample"), {}),
    "two_layers": (network((4, 8), (0, 1), layers_per_block=2), dict(beta_schedule="sigmoid", num_train_timesteps=200), {}),
    "early": (network((4, 8), (1,), **CLASSIC), dict(trained_betas=[0.001 * (i + 1) for i in range(100)],
                                                      num_train_timesteps=100), dict(early=True, dtype=torch.float16)),
    "bfloat16": (network((4, 8), (1,), freq_shift=1), dict(thresholding=True, sample_max_value=1.0),
                 dict(dtype=torch.bfloat16)),
    "learned": (network((4, 8), (1,), out_channels=6), dict(variance_type="learned_range"), dict(dtype=torch.float64)),
    "tiny_ddpm": (network((4, 8), (1,), attention_head_dim=8), dict(), {}),
    "ddim": (network((4, 8), (1,), attention_head_dim=8), dict(),
             dict(kind="DDIM")),
}
EARLY = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}


def store(folder, net, scheduler, early=False, dtype=torch.float32, **_):
    (diffusers.DDIMPipeline if isinstance(scheduler, diffusers.DDIMScheduler) else diffusers.DDPMPipeline)(
        net, scheduler).save_pretrained(folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = {name: value.to(dtype) for name, value in load_file(path).items()}
    if early:
        for now, before in EARLY.items():
            weights = {name.replace(now, before): value for name, value in weights.items()}
        config = json.loads((folder / "unet" / "config.json").read_text())
        config["down_block_types"] = ["UNetRes" + block for block in config["down_block_types"]]
        config["up_block_types"] = ["UNetRes" + block for block in config["up_block_types"]]
        (folder / "unet" / "config.json").write_text(json.dumps(config, indent=2))
        for name in ("config.json", path.name):  # without the folder of a part
            (folder / "unet" / name).rename(folder / name)
        (folder / "unet").rmdir()
        path = folder / path.name
    save_file(weights, path, metadata={"format": "pt"})
    net.load_state_dict({name: value.to(dtype).float() for name, value in net.state_dict().items()})


def nhwc(x):
    return x.permute(0, 2, 3, 1).contiguous().float()


@torch.no_grad()
def export(name):
    config, process, how = CASES[name]
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(**config).eval()
    folder = pathlib.Path(__file__).parent / name
    own = {"DDIM": diffusers.DDIMScheduler}.get(how.get("kind"), diffusers.DDPMScheduler)
    store(folder, net, own(**process), **how)
    shape = (2, config["in_channels"], *([config["sample_size"]] * 2 if isinstance(config["sample_size"], int)
                                         else config["sample_size"]))
    generator = torch.Generator().manual_seed(1)
    x, t = torch.randn(shape, generator=generator), torch.tensor([7, 93])
    labels = torch.tensor([3, 0]) if "num_class_embeds" in config else None
    expected = dict(x=nhwc(x), t=t.float(), y=nhwc(net(x, t, class_labels=labels).sample))
    if labels is not None:
        expected["labels"] = labels.float()
    if process.get("variance_type") == "learned_range" or process.get("beta_schedule") == "sigmoid":
        scheduler = diffusers.DDPMScheduler(**process)  # which DDIMScheduler does not know
    else:
        scheduler = diffusers.DDIMScheduler(**{key: value for key, value in process.items() if key != "variance_type"})
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    scheduler.set_timesteps(10)
    for step in scheduler.timesteps:
        x = scheduler.step(net(x, step, class_labels=labels).sample, step, x, generator=generator).prev_sample
    save_file(expected | {"sample": nhwc(x)}, folder / "expected.safetensors")


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        export(case)
