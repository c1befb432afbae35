"""Makes the tables and plots of docs/performance.md from what the benches have measured.

    cargo bench --profile dist --bench pipeline -- --scales 0.25,1,4 --json results/pipeline.json
    cargo bench --profile dist --bench updates -- --scales 0.25,1,4 --json results/updates.json
    cargo bench --profile dist --bench updates -- --scales 1 --neighbour --json results/neighbour.json
    cargo bench --profile dist --bench updates -- --scales 1 --workers 4 --json results/four.json
    cargo bench --profile dist --bench updates -- --scales 1 --cold --json results/cold.json
    cargo bench --profile dist --bench skew -- --json results/skew.json
    cargo build --profile dist
    for scale in 0.25 1 4 10; do                 # shops by: millstream generate --scale $scale --output shop-$scale
        python bench/peers.py shop-$scale --scale $scale --millstream target/dist/millstream --json results/peers-$scale.json
    done
    pip install matplotlib && python bench/performance.py results

Everything between the two marks in docs/performance.md is replaced, and docs/performance.svg is drawn.
"""
import json, pathlib, statistics, sys

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "millstream"  # the same figures make the same file
import matplotlib.pyplot as plt

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- performance: made by bench/performance.py -->", "<!-- end of performance -->"
NAMES = {"millstream": "millstream", "duckdb": "DuckDB", "polars": "Polars"}
CASES = {"corrected orders": "an order corrected", "new orders": "an order added", "orders added and deleted": "an order added, then deleted",
         "changed prices": "a price changed"}


def load(path):
    return json.loads(path.read_text()) if path.exists() else {"results": []}


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def runs(peers):
    """Whole runs beside the peers', by scale."""
    rows = []
    for scale, measured in sorted(peers.items()):
        fastest = min((run["wall"] for name, run in measured.items() if name != "millstream"), default=None)
        for name, run in sorted(measured.items(), key=lambda item: item[1]["wall"]):
            ratio = f"{run['wall'] / fastest:.2f}" if fastest else ""
            rows.append([f"{scale:g}", NAMES.get(name, name), f"{run['wall']:.2f}", f"{run['cpu']:.2f}", f"{run['peak_mib']:,.0f}", ratio])
    return table(["scale", "", "wall s", "CPU s", "peak MiB", "/ fastest peer"], rows)


def by_workers(pipeline):
    """Runs by scale and workers, and how much faster several workers are than one."""
    alone = {run["scale"]: run["seconds"] for run in pipeline if run["workers"] == 1}
    return table(["scale", "workers", "seconds", "orders a second", "peak MiB", "speed-up"], [
        [f"{run['scale']:g}", run["workers"], f"{run['seconds']:.2f}", f"{run['orders_per_second']:,.0f}",
         f"{run['peak_bytes'] / 2**20:,.0f}", f"{alone[run['scale']] / run['seconds']:.2f}" if run["scale"] in alone else ""]
        for run in pipeline])


def stages(pipeline):
    """Where a run's time goes, on the largest number of workers at scale 1 or the scale nearest to it."""
    run = min(pipeline, key=lambda run: (abs(run["scale"] - 1), -run["workers"]))
    shown = [stage for stage in run["stages"] if stage["seconds"] >= 0.01 * sum(s["seconds"] for s in run["stages"])]
    return run, table(["stage", "seconds"], [[stage["name"], f"{stage['seconds']:.2f}"] for stage in shown])


def updates(results):
    """At scale 1 or the scale nearest to it; the plot has the others."""
    rows = []
    scale = min((run["scale"] for run in results), key=lambda scale: abs(scale - 1))
    for run in results:
        if "case" in run and run["scale"] == scale:
            case = CASES.get(run["case"], run["case"]) if run["changes_per_epoch"] == 1 else run["case"]
            rows.append([case, f"{run['changes_per_epoch']:,}", f"{run['p50_us']:,.0f}", f"{run['p99_us']:,.0f}", f"{run['changes_per_second']:,.0f}"])
    return table(["change", "an epoch", "p50 µs", "p99 µs", "changes a second"], rows)


def skew(results):
    return table(["shop", "load s", "of uniform", "p50 µs", "of uniform"], [
        [run["shop"], f"{run['load_seconds']:.2f}", f"{run['load_to_uniform']:.2f}", f"{run['p50_us']:.0f}", f"{run['p50_to_uniform']:.2f}"]
        for run in results])


def beside(changes, neighbour, four):
    """One change at a time on an idle machine, beside a process that keeps one core busy, and with more workers than cores."""
    of = lambda results: {(run["case"], run["changes_per_epoch"]): run for run in results if "case" in run and run["scale"] == 1}
    all_of = [of(results) for results in (changes, neighbour, four)]
    show = lambda run: f"{run['p50_us']:,.0f} / {run['p99_us']:,.0f}" if run else ""
    return table(["change", "an epoch", "idle machine, p50 / p99 µs", "one core kept busy", "four workers on two cores"], [
        [CASES.get(case, case) if size == 1 else case, f"{size:,}", *(show(runs.get((case, size))) for runs in all_of)]
        for case, size in all_of[0]])


def goals(peers, pipeline, changes, skewed, neighbour, four):
    """What the project aims at, beside what was measured."""
    busy = next((run for run in neighbour if run.get("case") == "corrected orders" and run["changes_per_epoch"] == 1), None)
    more = next((run for run in four if run.get("case") == "corrected orders" and run["changes_per_epoch"] == 1), None)
    ratio = lambda scale: peers[scale]["millstream"]["wall"] / min(r["wall"] for name, r in peers[scale].items() if name != "millstream")
    cpu = lambda scale: peers[scale]["millstream"]["cpu"] / scale
    by_scale = [[f"run at scale {scale:g}: time / the fastest peer's", "≤ 0.60", f"{ratio(scale):.2f}"] for scale in (4, 10) if scale in peers]
    by_scale += [["scale 10 / scale 1: CPU per order", "≤ 1.1", f"{cpu(10) / cpu(1):.2f}"]] if 10 in peers else []
    calm = [["the same, one core kept busy by another process, µs", "≤ 200 / ≤ 2,000", f"{busy['p50_us']:,.0f} / {busy['p99_us']:,.0f}"]] if busy else []
    run = {(run["scale"], run["workers"]): run for run in pipeline}
    load = {run["scale"]: run for run in changes if "load_seconds" in run}
    case = {(run["scale"], run["case"], run["changes_per_epoch"]): run for run in changes if "case" in run}
    one = lambda scale: case[scale, "corrected orders", 1]
    rivals = [run for name, run in peers[1].items() if name != "millstream"]
    fastest, leanest, ours = min(r["wall"] for r in rivals), min(r["peak_mib"] for r in rivals), peers[1]["millstream"]
    worst = lambda key: max(run[key] for run in skewed)
    return table(["figure", "aim", "measured"], [
        ["run: time / the fastest peer's", "≤ 0.60", f"{ours['wall'] / fastest:.2f}"],
        ["run: peak memory / the leanest peer's", "≤ 1.0", f"{ours['peak_mib'] / leanest:.2f}"],
        *by_scale,
        ["load and stay live: time / the fastest peer's run", "≤ 0.60", f"{load[1]['load_seconds'] / fastest:.2f}"],
        ["live state: bytes an order", "≤ 150", f"{load[1]['bytes_per_order']:.0f}"],
        ["an order corrected: p50 / p99, µs", "≤ 50 / ≤ 120", f"{one(1)['p50_us']:.0f} / {one(1)['p99_us']:.0f}"],
        *calm,
        *([["the same, four workers on two cores: p50 / p50 of two", "≤ 3", f"{more['p50_us'] / one(1)['p50_us']:.1f}"]] if more else []),
        ["10,000 orders corrected an epoch: a second", "≥ 500,000", f"{case[1, 'corrected orders', 10_000]['changes_per_second']:,.0f}"],
        ["a price changed: p50, µs", "≤ 150", f"{case[1, 'changed prices', 1]['p50_us']:.0f}"],
        *([["scale 4 / scale 1: run / p50", "≤ 4.4 / ≤ 1.3", f"{run[4, 2]['seconds'] / run[1, 2]['seconds']:.2f} / {one(4)['p50_us'] / one(1)['p50_us']:.2f}"]]
          if {(4, 2), (1, 2)} <= run.keys() else []),
        *([["30 % of one customer or product / uniform: load / p50", "≤ 1.3 / ≤ 3", f"{worst('load_to_uniform'):.2f} / {worst('p50_to_uniform'):.2f}"]]
          if skewed else []),
        *([["2 workers / 1: speed-up", "≥ 1.8", f"{run[1, 1]['seconds'] / run[1, 2]['seconds']:.2f}"]] if {(1, 1), (1, 2)} <= run.keys() else []),
    ])


def plot(peers, changes, neighbour, path):
    figure, (left, right, beside) = plt.subplots(1, 3, figsize=(13, 3.4), constrained_layout=True)
    runs = [next((run for run in results if run.get("case") == "corrected orders" and run["changes_per_epoch"] == 1 and run["scale"] == 1), None)
            for results in (changes, neighbour)]
    for at, (run, label) in enumerate(zip(runs, ("idle machine", "one core kept busy"))):
        if run:
            beside.bar([at - 0.2, at + 0.2], [run["p50_us"], run["p99_us"]], width=0.36, color=["C0", "C1"])
    beside.set(yscale="log", ylabel="µs", title="an order corrected, scale 1 (p50, p99)")
    beside.set_xticks([0, 1], ["idle machine", "one core kept busy"])
    beside.grid(alpha=0.25, axis="y")
    for name in ("millstream", "duckdb", "polars"):
        points = sorted((scale, run[name]["wall"]) for scale, run in peers.items() if name in run)
        left.plot(*zip(*points), marker="o", label=NAMES[name], linewidth=2.2 if name == "millstream" else 1.2)
    left.set(xscale="log", yscale="log", xlabel="scale (1 = 6 million orders)", ylabel="seconds", title="the whole job")
    for case, label in CASES.items():
        points = sorted((run["scale"], run["p50_us"], run["p99_us"]) for run in changes
                        if run.get("case") == case and run["changes_per_epoch"] == 1)
        if points:
            scales, middle, most = zip(*points)
            line, = right.plot(scales, middle, marker="o", label=label)
            right.plot(scales, most, linestyle=":", color=line.get_color())
    right.set(xscale="log", yscale="log", xlabel="scale", ylabel="µs", title="one change, in all tables (p50; dotted: p99)")
    right.set_ylim(top=2.5 * right.get_ylim()[1])  # room for the legend
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2 if axes is right else 1)
        axes.grid(alpha=0.25)
        axes.minorticks_off()
        axes.set_xticks(sorted(peers), [f"{scale:g}" for scale in sorted(peers)])
        low, high = axes.get_ylim()
        ticks = [digit * 10.0**power for power in range(-1, 6) for digit in (1, 2, 5) if low <= digit * 10.0**power <= high]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main(folder):
    pipeline, changes, skewed = (load(folder / f"{name}.json") for name in ("pipeline", "updates", "skew"))
    neighbour, four, cold = (load(folder / f"{name}.json")["results"] for name in ("neighbour", "four", "cold"))
    peers = {}
    for path in sorted(folder.glob("peers-*.json")):
        measured = load(path)
        peers[measured["scale"]] = {run["name"]: run for run in measured["results"]}
    machine = next(part["machine"] for part in (pipeline, changes, skewed) if part["results"])
    memory = int(machine["memory"].split()[0]) / 2**20
    text = [BEGIN, f"Measured on {machine['cores']} cores ({machine['processor']}) and {memory:.0f} GiB, warm files, medians.\n"]
    if peers:
        text += ["![The whole job and one change, by scale](performance.svg)\n", "**The whole job**, from Parquet to seven tables of snappy Parquet, whole processes in turn:\n", runs(peers), ""]
    if pipeline["results"]:
        text += ["**By workers**:\n", by_workers(pipeline["results"]), ""]
        run, rows = stages(pipeline["results"])
        text += [f"**Where the time goes** at scale {run['scale']:g} on {run['workers']} workers, in seconds of all of them (`run --profile`):\n", rows, ""]
    loads = [run for run in changes["results"] if "load_seconds" in run]
    if loads:
        text += ["**Load and stay live**, all tables kept, nothing written, `enriched_data` in its parts (lines, accounts, products):\n", table(
            ["scale", "workers", "seconds", "bytes an order"],
            [[f"{run['scale']:g}", run["workers"], f"{run['load_seconds']:.2f}", f"{run['bytes_per_order']:.0f}"] for run in loads]), ""]
        text += ["**Changes** at scale 1, one epoch after the other, until all tables (`enriched_data` in its parts) have it:\n", updates(changes["results"]), ""]
        if neighbour:
            text += ["**The same on a machine that is not idle**, scale 1:\n", beside(changes["results"], neighbour, four), ""]
        if cold:
            text += ["**The first change after a load**, scale 1, medians:\n", table(["change", "p50 µs"], [
                [CASES.get(run["case"], run["case"]), f"{run['p50_us']:,.0f}"] for run in cold if "case" in run]), ""]
    if skewed["results"]:
        text += ["**Skew**: three in ten orders of one customer, or of one product:\n", skew(skewed["results"]), ""]
    if peers and changes["results"]:
        text += ["**Targets**, at scale 1 unless stated otherwise:\n", goals(peers, pipeline["results"], changes["results"], skewed["results"], neighbour, four), ""]
    page = ROOT / "docs" / "performance.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(before + "\n".join(text) + END + rest.split(END)[1])
    if peers:
        plot(peers, changes["results"], neighbour, ROOT / "docs" / "performance.svg")


main(pathlib.Path(sys.argv[1]))
