"""Holds the scores of order_anomalies against scikit-learn's IsolationForest on the same rows.

usage: anomaly.py INPUT_DIR OUTPUT_DIR [--seeds 0,1,2]

INPUT_DIR/{orders,products} hold Parquet; OUTPUT_DIR has what `millstream run --tables order_anomalies` wrote with its
default settings, which are scikit-learn's: 100 trees of 256 points, contamination 0.1. A forest is random, so that two
of scikit-learn's own differ too: with several seeds, they are compared with each other as well.

needs: pip install duckdb scikit-learn scipy
"""
import argparse, itertools, sys
import duckdb
import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest
from sklearn.preprocessing import StandardScaler

ap = argparse.ArgumentParser()
ap.add_argument("input"); ap.add_argument("output"); ap.add_argument("--seeds", default="0,1,2")
a = ap.parse_args()
con = duckdb.connect()
for table, key in (("orders", "order_id"), ("products", "product_id")):
    con.sql(f"""create temp table {table} as select * exclude (filename, file_row_number) from
      read_parquet('{a.input}/{table}/**/*.parquet', filename=true, file_row_number=true, hive_partitioning=false) where {key} is not null
      qualify row_number() over (partition by {key} order by filename desc, file_row_number desc) = 1""")
null = lambda c: f"case when isnan({c}::double) then null else {c} end"
rows = con.sql(f"""select coalesce(quantity, 1)::double q, coalesce({null('price')}, 0)::double p, coalesce({null('discount')}, 0)::double d,
    anomaly_score s from read_parquet('{a.output}/order_anomalies/*.parquet') join orders using (order_id) join products using (product_id)
  order by order_id""").fetchnumpy()
points = StandardScaler().fit_transform(np.column_stack([rows["q"], rows["p"], rows["d"]]))
scores = {"millstream": np.asarray(rows["s"])}
for seed in a.seeds.split(","):
    forest = IsolationForest(n_estimators=100, max_samples=256, contamination=0.1, random_state=int(seed), n_jobs=-1)
    scores[f"scikit-learn, seed {seed}"] = forest.fit(points).decision_function(points)

print(f"{len(points)} orders; below zero: " + ", ".join(f"{name} {np.mean(score < 0):.4f}" for name, score in scores.items()))
failed = False
for (one, x), (other, y) in itertools.combinations(scores.items(), 2):
    rho = spearmanr(x, y).statistic
    same = np.sum((x < 0) & (y < 0)) / max(np.sum(y < 0), 1)
    print(f"{one} / {other}: Spearman {rho:.4f}, {100 * same:.1f} % of the orders that the second has below zero")
    if one == "millstream":
        failed |= rho < 0.95 or same < 0.9
sys.exit(bool(failed))
