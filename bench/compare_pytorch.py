#!/usr/bin/env python3
"""This library against the engines that run the same networks on a CPU, sides alternating.

    python3 bench/compare_pytorch.py BUILD_FOLDER [--threads 2] [--rounds 5] [--rows ...] [--json FILE] [--isa avx2]
                                     [--precision any]

BUILD_FOLDER holds a Release build with -DDDPM_BUILD_BENCH=ON. The peers are installed into an environment of their own
(--environment, by default ~/.cache/ddpm-peers) if they are not there. In float32:

    train     forward, mean squared error, backward and Adam, against PyTorch (eager, channels_last, compile)
    denoise   forward without gradients, against those, ONNX Runtime and OpenVINO (both from an ONNX file)

With --precision any each side takes whatever is fastest: PyTorch also under autocast to bfloat16, OpenVINO at the precision
that it chooses by itself, and this library in float32 or bfloat16. The error is that of the output against the same side's float32, root
mean square over the standard deviation, at random weights.

With --isa avx2 (and a build with -DDDPM_NATIVE=OFF) PyTorch is held to AVX2 and is the only peer.

Every round times each peer, then this library, each in a process of its own while the others stand still; seconds are
medians over the rounds, the ratio is that of the fastest peer's median to ours. MB is the highest resident size.
"""
import argparse
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv

HERE = pathlib.Path(__file__).resolve()
BATCH = {"ho2020_cifar10": 8, "mnist_small": 32, "tutorial": 32}
DROPOUT = {"ho2020_cifar10": 0.1}
MODES = ["eager", "channels_last", "compile"]
ENGINES = ["onnxruntime", "openvino"]
PRECISIONS = {"float32": (MODES, ENGINES),
              "any": (MODES + [f"{mode}:bf16" for mode in MODES], ENGINES + ["openvino:default"])}
ISA = {"native": {}, "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}
ROWS = [f"train/{preset}/{batch}" for preset, batch in BATCH.items()] + \
       [f"denoise/{preset}/{batch}" for preset, batch in BATCH.items()] + \
       ["denoise/ho2020_cifar10/1", "denoise/ho2020_cifar10/64"]


def enter_environment(folder):
    """Goes on inside the environment, which is made at the first call."""
    python = pathlib.Path(folder) / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == pathlib.Path(folder).resolve():
        return
    if not python.exists():
        print(f"installing the peers into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "torch==2.13.0", "numpy", "onnx", "onnxruntime",
                        "openvino"], check=True)
    os.execv(python, [str(python), str(HERE), *sys.argv[1:]])


class Torch:
    """One preset in one mode of PyTorch, with ":bf16" under autocast to bfloat16."""

    def __init__(self, preset, batch, mode):
        import torch
        mode, _, precision = mode.partition(":")
        sys.path.insert(0, str(HERE.parent.parent / "tests" / "parity"))
        from export import CASES
        from networks import TutorialUNet, UNet
        kind, config, _, size = CASES[preset]
        torch.manual_seed(0)
        network = {"UNet": UNet, "TutorialUNet": TutorialUNet}[kind](**config)
        for module in network.modules():
            if hasattr(module, "dropout"):
                module.dropout.p = DROPOUT.get(preset, 0.0)
        self.torch = torch
        self.x = torch.randn(batch, config["image_channels"], size, size)
        self.t = torch.randint(0, 1000, (batch,))
        if mode in ("channels_last", "compile"):
            network = network.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.network, self.adam = network, torch.optim.Adam(network.parameters(), 2e-4)
        self.run = torch.compile(network) if mode == "compile" else network
        self.half = precision == "bf16"

    def forward(self):
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.half):
            return self.run(self.x, self.t).float()

    def train(self):
        torch = self.torch
        self.network.train()
        self.adam.zero_grad()
        torch.nn.functional.mse_loss(self.forward(), torch.randn_like(self.x)).backward()
        self.adam.step()

    def denoise(self):
        self.network.eval()
        with self.torch.no_grad():
            return self.forward()

    def error(self):
        """Of the output against float32."""
        self.network.eval()
        with self.torch.no_grad():
            exact, rounded = self.network(self.x, self.t), self.forward()
            return float((rounded - exact).pow(2).mean().sqrt() / exact.std())


class Engine:
    """One preset in an inference engine, by way of an ONNX file."""

    def __init__(self, preset, batch, engine, threads):
        peer = Torch(preset, batch, "eager")
        peer.network.eval()
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/network.onnx"
            peer.torch.onnx.export(peer.network, (peer.x, peer.t), file, input_names=["x", "t"], dynamo=False)
            feed = {"x": peer.x.numpy(), "t": peer.t.numpy()}
            with peer.torch.no_grad():
                expected = peer.network(peer.x, peer.t).numpy()
            engine, _, precision = engine.partition(":")
            self.denoise = getattr(self, engine)(file, feed, threads, precision)
        self.difference = float(((self.denoise() - expected) ** 2).mean() ** 0.5 / expected.std())
        assert self.difference < (0.2 if precision else 1e-3), f"{engine} disagrees with PyTorch by {self.difference}"

    def error(self):
        return self.difference

    @staticmethod
    def onnxruntime(file, feed, threads, _):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, feed)[0]

    @staticmethod
    def openvino(file, feed, threads, precision):
        import openvino
        config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
        if precision != "default":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        model = openvino.Core().compile_model(file, "CPU", config)
        return lambda: model(feed)[0]


def serve(row, name, threads):
    """A peer's process: takes three steps, tells memory and error, then times three more for each line it reads."""
    import torch
    torch.set_num_threads(threads)
    step, preset, batch = row.split("/")
    engine = name.partition(":")[0] in ENGINES
    peer = Engine(preset, int(batch), name, threads) if engine else Torch(preset, int(batch), name)
    run = getattr(peer, step)
    for _ in range(3):  # compile, fill caches
        run()
    print(re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1], flush=True)
    print(peer.error(), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(3):
            run()
        print((time.perf_counter() - start) / 3, flush=True)


class Peer:
    """A process that serves; it stands still while it is not its turn, so that no idle thread of it spins."""

    def __init__(self, row, name, args):
        command = [sys.executable, str(HERE), args.build, "--environment", args.environment, "--threads",
                   str(args.threads), "--serve", row, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, start_new_session=True,
                                        env=os.environ | ISA[args.isa])
        memory = self.process.stdout.readline()
        self.works = bool(memory)
        if self.works:
            self.memory_mb = float(memory) / 1024
            self.error = float(self.process.stdout.readline())
            self.signal(signal.SIGSTOP)

    def signal(self, number):
        os.killpg(self.process.pid, number)  # with the helpers that torch.compile starts

    def seconds(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        seconds = float(self.process.stdout.readline())
        self.signal(signal.SIGSTOP)
        return seconds

    def end(self):
        self.signal(signal.SIGKILL)
        self.process.wait()


def ours(build, row, threads, precision):
    """Seconds of one step, its share of the multiply-add peak, MB, and the output's error."""
    step, preset, batch = row.split("/")
    name = f"{step}_step/{preset}/batch:{batch}/threads:{threads}" + ("/bfloat16" if precision == "bfloat16" else "")
    out = subprocess.run([f"{build}/bench/bench_unet", f"--benchmark_filter=^{name}/iterations",
                          "--benchmark_format=json"],
                         check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    result = json.loads(out)["benchmarks"][0]
    return result["real_time"] / 1e3, result["of_peak"], result["resident_MB"], result.get("rms_error", 0)


def compare(row, args):
    step, preset, batch = row.split("/")
    modes, engines = PRECISIONS[args.precision]
    peers = {name: Peer(row, name, args) for name in modes + (engines if step == "denoise" and args.isa == "native" else [])}
    for name in [name for name, peer in peers.items() if not peer.works]:
        print(f"{row}: {name} fails and is left out", file=sys.stderr, flush=True)
        del peers[name]
    own_precisions = ["float32", "bfloat16"] if args.precision == "any" else ["float32"]
    times, ours_at = {name: [] for name in peers}, {precision: [] for precision in own_precisions}
    for _ in range(args.rounds):
        for name, peer in peers.items():
            times[name].append(peer.seconds())
        for precision in own_precisions:
            ours_at[precision].append(ours(args.build, row, args.threads, precision))
    for peer in peers.values():
        peer.end()
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(medians, key=medians.get)
    own_precision = min(ours_at, key=lambda precision: statistics.median(m[0] for m in ours_at[precision]))
    mine = ours_at[own_precision]
    own = [m[0] for m in mine]
    each = [a / b for a, b in zip(times[best], own)]
    result = dict(step=step, preset=preset, batch=int(batch), threads=args.threads, peer_seconds=times,
                  ddpm_seconds={precision: [m[0] for m in values] for precision, values in ours_at.items()},
                  ddpm_precision=own_precision, fastest_peer=best, ratio=medians[best] / statistics.median(own),
                  ratio_range=[min(each), max(each)], share_of_peak=statistics.median(m[1] for m in mine),
                  peer_memory_mb={name: peer.memory_mb for name, peer in peers.items()}, ddpm_memory_mb=mine[0][2],
                  peer_error={name: peer.error for name, peer in peers.items()}, ddpm_error=mine[0][3])
    errors = f" {100 * peers[best].error:.2f} % | {100 * mine[0][3]:.2f} % |" if step == "denoise" else " | |"
    errors = f" {own_precision} |{errors}" if args.precision == "any" else ""
    print(f"| {preset} | {batch} | {step} | {medians[best]:.3f} | {best} | {statistics.median(own):.3f} | "
          f"{result['ratio']:.2f} ({min(each):.2f}-{max(each):.2f}) | {100 * result['share_of_peak']:.0f} % | "
          f"{peers[best].memory_mb:.0f} | {result['ddpm_memory_mb']:.0f} |{errors}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--environment", default=os.path.expanduser("~/.cache/ddpm-peers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", default=",".join(ROWS), help="comma-separated STEP/PRESET/BATCH")
    parser.add_argument("--json")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--isa", choices=ISA, default="native")
    parser.add_argument("--serve", nargs=2, metavar=("ROW", "PEER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    enter_environment(args.environment)
    if args.serve:
        return serve(*args.serve, args.threads)
    print(f"{args.threads} threads, medians of {args.rounds} alternating rounds\n")
    errors = " ours at | its error | ours |" if args.precision == "any" else ""
    print("| network | batch | step | fastest peer, s | which | ddpm, s | ratio (range) | of peak | peer MB | ddpm MB |" + errors)
    print("|---|---|---|---|---|---|---|---|---|---|" + errors.count("|") * "---|", flush=True)
    rows = [compare(row, args) for row in args.rows.split(",")]
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
