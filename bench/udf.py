"""What a function costs: here, in PySpark as a Python UDF and as a pandas UDF, and in Polars map_elements and map_batches.

usage: udf.py [--rows 10000000] [--ours FILE] [--write]

Runs `cargo bench --profile dist --bench udf` (or takes the figures of an earlier run with --ours), then the same functions over the
same rows in PySpark and Polars on as many cores, and prints rows a second as a Markdown table; with --write it is put between
the marks in docs/performance.md. Functions that a peer can only call slowly get fewer rows, which the table says.

needs: pip install pyspark polars pandas pyarrow scikit-learn, and Java for Spark
"""
import argparse, json, os, pathlib, re, subprocess, sys, time
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
ap = argparse.ArgumentParser()
ap.add_argument("--rows", type=int, default=10_000_000); ap.add_argument("--workers", type=int, default=2)
ap.add_argument("--ours"); ap.add_argument("--write", action="store_true")
a = ap.parse_args()
os.environ["PYSPARK_PYTHON"] = sys.executable
measured = {}  # (kind, function, engine) -> (rows, rows a second)


def timed(kind, function, engine, rows, work):
    started = time.perf_counter()
    result = work()
    took = time.perf_counter() - started
    measured[kind, function, engine] = (rows, rows / took)
    print(f"{kind:11} {function:24} {engine:22} {rows:>10} rows {took:8.2f} s {rows / took:>14,.0f} rows/s   ({result})", flush=True)


# The functions, as somebody would write them in Python.
def clean_text(text): return text.strip().lower().replace("  ", " ")
def final_price(price, discount): return price * (1 - discount)
def parse(text): return len(json.loads(text))
def parse_memoised(text, known={}):
    if text not in known:
        known[text] = len(json.loads(text))
    return known[text]

def orders(rows):
    n = np.arange(rows)
    return np.column_stack([n % 50 + 1, n * 7919 % 100_000 / 100, n % 11 / 100])

def forest():
    from sklearn.ensemble import IsolationForest
    return IsolationForest(n_estimators=100, max_samples=256, contamination=0.1, random_state=42).fit(orders(100_000))

few, some = min(a.rows, 2_000), min(a.rows, 1_000_000)


def ours():
    path = pathlib.Path(a.ours) if a.ours else ROOT / "target" / "tmp" / "results" / "udf.json"
    if not a.ours:
        subprocess.run(["cargo", "bench", "--profile", "dist", "--bench", "udf", "--", "--json", str(path), "--workers", str(a.workers)], cwd=ROOT, check=True)
    for result in json.loads(path.read_text())["results"]:
        measured[result["kind"], result["function"], "millstream"] = (result["rows"], result["rows_per_second"])


def polars():
    import polars as pl
    name = pl.format("  Product {}  NUMBER {} ", pl.col("n") % 10_007, pl.col("n"))
    kind = pl.col("n") % 1000
    meta = pl.format('{"colour": "c{}", "size": {}.50, "tags": ["a", "b"]}'.replace("{\"", "<\"").replace("]}", "]>"), kind, kind)
    meta = meta.str.replace_many(["<", ">"], ["{", "}"])
    df = pl.DataFrame({"n": np.arange(a.rows)}).select(name=name, meta=meta, price=pl.col("n") * 7919 % 100_000 / 100, discount=pl.col("n") % 11 / 100)
    elements = lambda f, column, rows=a.rows, t=pl.Int64: (lambda: df.head(rows).select(pl.col(column).map_elements(f, return_dtype=t)).to_series().len())
    batches = lambda f, columns, rows=a.rows, t=pl.Int64: (lambda: df.head(rows).select(pl.map_batches(columns, f, return_dtype=t)).to_series().len())
    timed("scalar", "clean_text", "Polars map_elements", a.rows, elements(clean_text, "name", t=pl.String))
    timed("scalar", "clean_text", "Polars map_batches", a.rows, batches(
        lambda s: s[0].str.strip_chars().str.to_lowercase().str.replace_all("  ", " ", literal=True), ["name"], t=pl.String))
    timed("vectorised", "price × (1 − discount)", "Polars map_elements", a.rows, lambda: df.select(
        pl.struct("price", "discount").map_elements(lambda s: final_price(s["price"], s["discount"]), return_dtype=pl.Float64)).to_series().len())
    timed("vectorised", "price × (1 − discount)", "Polars map_batches", a.rows, batches(lambda s: final_price(s[0], s[1]), ["price", "discount"], t=pl.Float64))
    for kind_, f in (("scalar", parse), ("memoised", parse_memoised)):
        timed(kind_, "parse_json_metadata", "Polars map_elements", a.rows, elements(f, "meta"))
        timed(kind_, "parse_json_metadata", "Polars map_batches", a.rows, batches(lambda s: pl.Series([f(x) for x in s[0]]), ["meta"]))
    model = forest()
    points = pl.DataFrame(orders(some), schema=["q", "p", "d"])
    timed("model", "anomaly_score", "Polars map_elements", few, lambda: points.head(few).select(pl.struct("q", "p", "d").map_elements(
        lambda s: float(model.decision_function([[s["q"], s["p"], s["d"]]])[0]), return_dtype=pl.Float64)).to_series().len())
    timed("model", "anomaly_score", "Polars map_batches", some, lambda: points.select(pl.map_batches(
        ["q", "p", "d"], lambda s: pl.Series(model.decision_function(np.column_stack([x.to_numpy() for x in s]))), return_dtype=pl.Float64)).to_series().len())


def spark():
    import pandas as pd
    from pyspark.sql import SparkSession, functions as F
    from pyspark.sql.functions import pandas_udf, udf
    session = SparkSession.builder.master(f"local[{a.workers}]").config("spark.ui.enabled", "false").config(
        "spark.driver.memory", "8g").config("spark.sql.execution.arrow.maxRecordsPerBatch", "10000").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    n = F.col("id")
    columns = dict(
        name=F.concat(F.lit("  Product "), (n % 10_007).cast("string"), F.lit("  NUMBER "), n.cast("string"), F.lit(" ")),
        meta=F.concat(F.lit('{"colour": "c'), (n % 1000).cast("string"), F.lit('", "size": '), (n % 1000).cast("string"), F.lit('.50, "tags": ["a", "b"]}')),
        price=n * 7919 % 100_000 / 100, discount=n % 11 / 100, quantity=(n % 50 + 1).cast("double"))
    session.range(1000).select(F.sum(udf(lambda x: x + 1, "long")(n))).collect()  # start the workers

    def run(kind, function, engine, f, used, rows=a.rows, measure=F.sum):
        df = session.range(0, rows, 1, a.workers).select(*[columns[c].alias(c) for c in used])
        timed(kind, function, engine, rows, lambda: df.select(measure(f(*used))).collect()[0][0])

    length = lambda c: F.sum(F.length(c))
    run("scalar", "clean_text", "PySpark Python UDF", udf(clean_text, "string"), ["name"], measure=length)
    run("scalar", "clean_text", "PySpark pandas UDF", pandas_udf(
        lambda s: s.str.strip().str.lower().str.replace("  ", " ", regex=False), "string"), ["name"], measure=length)
    run("vectorised", "price × (1 − discount)", "PySpark Python UDF", udf(final_price, "double"), ["price", "discount"])
    run("vectorised", "price × (1 − discount)", "PySpark pandas UDF", pandas_udf(final_price, "double"), ["price", "discount"])
    for kind, f in (("scalar", parse), ("memoised", parse_memoised)):
        run(kind, "parse_json_metadata", "PySpark Python UDF", udf(lambda x, f=f: f(x), "long"), ["meta"])
        run(kind, "parse_json_metadata", "PySpark pandas UDF", pandas_udf((lambda f: lambda s: s.map(f))(f), "long"), ["meta"])
    model = forest()
    run("model", "anomaly_score", "PySpark Python UDF", udf(
        lambda q, p, d: float(model.decision_function([[q, p, d]])[0]), "double"), ["quantity", "price", "discount"], rows=few)
    run("model", "anomaly_score", "PySpark pandas UDF", pandas_udf(
        lambda q, p, d: pd.Series(model.decision_function(np.column_stack([q, p, d]))), "double"), ["quantity", "price", "discount"], rows=some)
    session.stop()


ours(); polars(); spark()

ENGINES = ["millstream", "PySpark Python UDF", "PySpark pandas UDF", "Polars map_elements", "Polars map_batches"]
lines = ["| kind | function | " + " | ".join(ENGINES) + " |", "|---|---|" + "---|" * len(ENGINES)]
for kind, function in [("scalar", "clean_text"), ("vectorised", "price × (1 − discount)"), ("scalar", "parse_json_metadata"),
                       ("memoised", "parse_json_metadata"), ("model", "anomaly_score")]:
    def cell(engine):
        rows, speed = measured.get((kind, function, engine), (0, 0))
        return "–" if not rows else f"{speed:,.0f}" + ("" if rows == a.rows else f" ({rows:,} rows)")
    lines.append(f"| {kind} | `{function}` | " + " | ".join(cell(e) for e in ENGINES) + " |")
table = "\n".join(lines)
print("\n" + table)
if a.write:
    path = ROOT / "docs" / "performance.md"
    text, found = re.subn(r"(<!-- functions: .*?-->\n).*?(<!-- end of functions -->)", lambda m: m.group(1) + table + "\n" + m.group(2), path.read_text(), flags=re.S)
    assert found == 1, f"{path} has no marks"
    path.write_text(text)
