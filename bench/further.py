"""Holds the four tables that are made on request against the same queries in DuckDB.

usage: further.py INPUT_DIR OUTPUT_DIR

INPUT_DIR/{orders,products} hold Parquet; OUTPUT_DIR has what `millstream run --tables all` wrote. Money is compared as
exact decimals are, to 1e-6 and 12 digits; the statistics of prices and order lines are worked out from exact sums in
50-digit arithmetic and must agree to 1e-9. Of order_anomalies, the score itself is not compared (bench/anomaly.py does).

needs: pip install duckdb mpmath
"""
import argparse, sys
import duckdb
from mpmath import mp, mpf, sqrt

mp.dps = 50
ap = argparse.ArgumentParser()
ap.add_argument("input"); ap.add_argument("output")
a = ap.parse_args()
con = duckdb.connect()


def last(table, key, columns):
    con.sql(f"""create temp table raw_{table} as select {columns} from
      read_parquet('{a.input}/{table}/**/*.parquet', filename=true, file_row_number=true, hive_partitioning=false, union_by_name=true)
      where {key} is not null
      qualify row_number() over (partition by {key} order by filename desc, file_row_number desc) = 1""")


def columns_of(table):
    return [c for c, *_ in con.sql(f"describe select * from read_parquet('{a.input}/{table}/**/*.parquet', hive_partitioning=false)").fetchall()]


have = columns_of("products")
optional = ", ".join(c if c in have else f"null::varchar as {c}" for c in ("product_name", "brand", "metadata"))
last("orders", "order_id", "order_id, customer_id, product_id, quantity, discount")
last("products", "product_id", f"product_id, price, category, {optional}")
null = lambda c: f"case when isnan({c}::double) then null else {c} end"
con.sql(f"""create temp table p as select product_id, product_name, brand, metadata, coalesce(category, 'Unknown') category,
  coalesce({null('price')}, 0)::decimal(14,4) price from raw_products""")
con.sql(f"""create temp table o as select order_id, customer_id, product_id, coalesce(quantity, 1)::bigint quantity,
  coalesce({null('discount')}, 0)::decimal(9,4) discount from raw_orders""")
con.sql("""create temp table sales as select product_id, product_name, category, sum(quantity) total_quantity,
    sum(quantity::decimal(12,0) * price * (1 - discount)) total_revenue, count(distinct customer_id) unique_customers
  from o left join p using (product_id) group by all""")
con.sql("""create temp table lines as select category, quantity::hugeint q, (price * 10000)::hugeint p from o join p using (product_id)""")

tables = {
  "product_ranking": (["product_id"], """select *,
      row_number() over t row_num, rank() over w rank, dense_rank() over w dense_rank,
      lag(total_revenue) over t prev_sales, lead(total_revenue) over t next_sales,
      first_value(total_revenue) over w first_sales, last_value(total_revenue) over w last_sales, nth_value(total_revenue, 2) over w second_sales,
      cume_dist() over w cumulative_dist, percent_rank() over w percentile_rank, ntile(4) over t quartile
    from sales window w as (partition by category order by total_revenue nulls first),
      t as (partition by category order by total_revenue nulls first, product_id nulls first)"""),
  "category_stats": (["category"], """select category, count(*) count, sum(price)::double / count(*) avg_price,
      coalesce(list(product_name order by product_id) filter (product_name is not null), []) all_products,
      coalesce(list_sort(list(distinct brand) filter (brand is not null)), []) unique_brands from p group by 1"""),
  "product_features": (["product_id"], """select product_id, replace(lower(trim(product_name)), '  ', ' ') clean_name,
      case when price is null then 'Unknown' when price < 100 then 'Low' when price < 500 then 'Medium' else 'High' end price_category,
      case when json_valid(metadata) and json_type(metadata) = 'OBJECT'
        then map_from_entries([(k, metadata ->> ('$."' || k || '"')) for k in list_sort(json_keys(metadata))]) else map {} end metadata from p"""),
  "order_anomalies": (["order_id"], """select order_id, price * (1 - discount) final_price, price is null no_score
    from o left join p using (product_id)"""),
}
ours = {"order_anomalies": "order_id, final_price, anomaly_score is null no_score"}
failed = False


def tell(name, agrees, text):
    global failed
    failed |= not agrees
    print(f"{'ok' if agrees else 'DIFFERS':8} {name}: {text}")


for name, (keys, query) in tables.items():
    con.sql(f"create or replace temp table want as {query}")
    kinds = {c: t for c, t, *_ in con.sql("describe want").fetchall()}
    con.sql(f"create or replace temp table got as select {ours.get(name, ', '.join(kinds))} from read_parquet('{a.output}/{name}/*.parquet')")
    number = lambda c: kinds[c].startswith("DECIMAL") or kinds[c] in ("DOUBLE", "HUGEINT", "BIGINT", "INTEGER")
    same = " and ".join(
        f"(g.{c} is not distinct from w.{c} or abs(g.{c}::double - w.{c}::double) <= 1e-6 + 1e-12 * abs(w.{c}::double))" if number(c)
        else f"g.{c} is not distinct from w.{c}" for c in kinds if c not in keys)
    on = " and ".join(f"g.{k} is not distinct from w.{k}" for k in keys)
    want, got, agree = [con.sql(q).fetchall()[0][0] for q in (
        "select count(*) from want", "select count(*) from got", f"select count(*) from want w join got g on {on} where {same}")]
    tell(name, want == got == agree, f"{got} rows, wanted {want}, {agree} of them the same in {', '.join(c for c in kinds if c not in keys)}")
    if agree != want:
        for row in con.sql(f"select w.*, g.* from want w left join got g on {on} where not coalesce({same}, false) limit 3").fetchall():
            print("   ", row)

# The statistics, from exact sums of integers (prices in units of 1e-4) with 50 digits.
got = {r[0]: r[1:] for r in con.sql(f"""select category, stddev_price, variance_price, skewness_price, kurtosis_price,
    corr_price_quantity, covar_pop, covar_samp from read_parquet('{a.output}/category_stats/*.parquet')""").fetchall()}
names = ("stddev_price", "variance_price", "skewness_price", "kurtosis_price", "corr_price_quantity", "covar_pop", "covar_samp")
prices = {}
for category, price in con.sql("select category, (price * 10000)::hugeint from p").fetchall():
    prices.setdefault(category, []).append(int(price))
pairs = {c: [int(x) for x in r] for c, *r in con.sql(
    "select category, count(*), sum(p), sum(q), sum(p * q), sum(p * p), sum(q * q) from lines group by 1").fetchall()}
worst = dict.fromkeys(names, mpf(0))
nulls = True
for category, values in prices.items():
    n = len(values)
    mean = mpf(sum(values)) / n
    m2, m3, m4 = (sum((v - mean) ** k for v in values) / n for k in (2, 3, 4))
    want = [None] * 7
    if n > 1:
        want[1] = m2 * n / (n - 1) / mpf(10) ** 8
        want[0] = sqrt(want[1])
    if m2 > 0:
        want[2], want[3] = m3 / m2 ** mpf(1.5), m4 / m2 ** 2 - 3
    if category in pairs:
        k, p, q, pq, pp, qq = pairs[category]
        spread, sp, sq = k * pq - p * q, k * pp - p * p, k * qq - q * q
        want[4] = mpf(spread) / sqrt(mpf(sp) * sq) if sp and sq else None
        want[5] = mpf(spread) / k / k / 10000
        want[6] = mpf(spread) / k / (k - 1) / 10000 if k > 1 else None
    for name, w, g in zip(names, want, got[category]):
        nulls &= (w is None) == (g is None)
        if w is not None and g is not None:
            worst[name] = max(worst[name], abs(mpf(g) - w) / max(1, abs(w)))
tell("category_stats, 50 digits", nulls and max(worst.values()) <= mpf("1e-9"),
     f"{len(prices)} categories, largest differences " + ", ".join(f"{name} {mp.nstr(error, 2)}" for name, error in worst.items()))
sys.exit(failed)
