"""Times the job against DuckDB and Polars, whole processes in turn: wall seconds, CPU seconds, peak memory.

    millstream generate --scale 1 --output shop
    pip install duckdb==2.0.0 polars==2.1.0
    python bench/peers.py shop --rounds 5

Every engine reads the same Parquet and writes all seven tables as snappy Parquet. The first round warms the page cache
and is not counted. Both peers do the job as their users would write it, tuned by hand; they keep any row of an id where
millstream keeps the last, and add amounts as doubles where millstream is exact.
"""
import argparse, json, os, shutil, statistics, subprocess, sys, tempfile, time


def duckdb_job(shop, out):
    import duckdb

    con = duckdb.connect()
    con.sql("set preserve_insertion_order=false")
    con.sql(f"set threads={os.cpu_count()}")
    con.sql(f"""create temp table products as select product_id, any_value(product_name) product_name,
        coalesce(any_value(category), 'Unknown') category, coalesce(any_value(price), 0) price, any_value(brand) brand
        from '{shop}/products/*.parquet' group by 1""")
    con.sql(f"""create temp table customers as select customer_id, any_value(customer_name) customer_name,
        any_value(segment) segment, any_value(nation) nation from '{shop}/customers/*.parquet' group by 1""")
    # The narrow facts once; wide rows only where they are written.
    con.sql(f"""create temp table e as select o.*, quantity * price * (1 - discount) total_amount from (
        select order_id, any_value(customer_id) customer_id, any_value(product_id) product_id,
          any_value(order_date) order_date, coalesce(any_value(quantity), 1) quantity,
          coalesce(any_value(discount), 0) discount, any_value(channel) channel
        from '{shop}/orders/*.parquet' group by order_id) o left join products p using (product_id)""")
    con.sql("""create temp table c as select *, case when total_spent >= 10000 then 'VIP' when total_spent >= 5000
        then 'Gold' when total_spent >= 1000 then 'Silver' else 'Bronze' end customer_tier from (
        select customer_id, count(*) total_orders, sum(total_amount) total_spent, avg(total_amount) avg_order_value,
          min(order_date) first_purchase, max(order_date) last_purchase from e group by 1)""")
    tables = {
        "enriched_data": """select e.*, p.product_name, p.category, p.price, p.brand, k.customer_name, k.segment, k.nation,
            c.total_spent, c.customer_tier from e left join products p using (product_id)
            left join customers k using (customer_id) left join c using (customer_id)""",
        "daily_sales": """select order_date, sum(total_amount) daily_revenue, count(distinct customer_id) daily_customers,
            avg(total_amount) avg_order_value from e group by 1 order by 1""",
        "product_sales": """select product_id, product_name, category, q, r, u from (select product_id, sum(quantity) q,
            sum(total_amount) r, count(distinct customer_id) u from e group by 1)
            left join products using (product_id) order by r desc""",
        "customer_patterns": """select customer_id, customer_tier, total_orders, total_spent, avg_order_value,
            first_purchase, last_purchase from c""",
        "rfm_analysis": """select customer_id, date_diff('day', last_purchase, current_date) recency,
            total_orders frequency, total_spent monetary from c""",
        "cohort_analysis": """select strftime(order_date, '%Y-%m') cohort_month, count(distinct customer_id) cohort_size
            from e group by 1""",
        "customer_product_matrix": """select customer_id, product_id, total_amount, rank from (select customer_id,
            product_id, total_amount, row_number() over (partition by customer_id
              order by order_date desc, order_id desc) rank from e) where rank <= 10""",
    }
    for name, query in tables.items():
        con.sql(f"copy ({query}) to '{out}/{name}.parquet' (format parquet, compression snappy)")


def polars_job(shop, out):
    import datetime
    import polars as pl
    from polars import col

    o = pl.scan_parquet(f"{shop}/orders/*.parquet").unique("order_id", keep="any")
    o = o.with_columns(col.quantity.fill_null(1), col.discount.fill_null(0))
    p = pl.scan_parquet(f"{shop}/products/*.parquet").unique("product_id", keep="any")
    p = p.with_columns(col.price.fill_null(0), col.category.fill_null("Unknown"))
    k = pl.scan_parquet(f"{shop}/customers/*.parquet").unique("customer_id", keep="any")
    e = o.join(p, on="product_id", how="left").join(k, on="customer_id", how="left")
    e = e.with_columns(total_amount=col.quantity * col.price * (1 - col.discount))
    e = e.join(e.group_by("customer_id").agg(total_spent=col.total_amount.sum()), on="customer_id", how="left")
    tier = pl.when(col.total_spent >= 10000).then(pl.lit("VIP")).when(col.total_spent >= 5000).then(pl.lit("Gold"))
    tier = tier.when(col.total_spent >= 1000).then(pl.lit("Silver")).otherwise(pl.lit("Bronze"))
    e = e.with_columns(customer_tier=tier).collect(engine="streaming").lazy()
    amount, customers = col.total_amount, col.customer_id.n_unique()
    days = dict(first_purchase=col.order_date.min(), last_purchase=col.order_date.max())
    latest = e.select("customer_id", "product_id", "total_amount", "order_date", "order_id")
    latest = latest.sort("customer_id", "order_date", "order_id", descending=[False, True, True])
    latest = latest.with_columns(rank=pl.int_range(1, pl.len() + 1).over("customer_id")).filter(col.rank <= 10)
    tables = {
        "enriched_data": e,
        "daily_sales": e.group_by("order_date").agg(r=amount.sum(), c=customers, a=amount.mean()).sort("order_date"),
        "product_sales": e.group_by("product_id", "product_name", "category")
        .agg(q=col.quantity.sum(), r=amount.sum(), u=customers).sort("r", descending=True),
        "customer_patterns": e.group_by("customer_id", "customer_tier")
        .agg(n=pl.len(), s=amount.sum(), a=amount.mean(), **days),
        "rfm_analysis": e.group_by("customer_id").agg(
            recency=(pl.lit(datetime.date.today()) - col.order_date.max()).dt.total_days(), n=pl.len(), m=amount.sum()),
        "cohort_analysis": e.group_by(m=col.order_date.dt.strftime("%Y-%m")).agg(s=customers),
        "customer_product_matrix": latest.drop("order_date", "order_id"),
    }
    for name, table in tables.items():
        table.sink_parquet(f"{out}/{name}.parquet", compression="snappy")


def timed(argv):
    start = time.monotonic()
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"failed: {' '.join(argv)}")
    return time.monotonic() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shop")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--millstream", default="target/dist/millstream")
    parser.add_argument("--scale", type=float, default=1, help="of the shop, for the JSON")
    parser.add_argument("--peers", default="duckdb,polars", help="those that have room: at scale 10 Polars takes 20 GB")
    parser.add_argument("--json", help="write the medians here too")
    parser.add_argument("--job", nargs=2, metavar=("ENGINE", "OUTPUT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        {"duckdb": duckdb_job, "polars": polars_job}[args.job[0]](args.shop, args.job[1])
        return
    work = tempfile.mkdtemp(prefix="peers-")
    runs = {name: [] for name in ["millstream", *args.peers.split(",")]}
    for _ in range(args.rounds + 1):
        for name, times in runs.items():
            out = f"{work}/{name}"
            shutil.rmtree(out, ignore_errors=True)
            os.makedirs(out)
            peer = [sys.executable, os.path.abspath(__file__), args.shop, "--job", name, out]
            ours = [args.millstream, "run", "--input", args.shop, "--output", out]
            times.append(timed(ours if name == "millstream" else peer))
    shutil.rmtree(work)
    print(f"{'medians':12}{'wall s':>10}{'CPU s':>10}{'peak MiB':>10}")
    medians = {name: [statistics.median(column) for column in zip(*times[1:])] for name, times in runs.items()}
    for name, columns in medians.items():
        print(f"{name:12}" + "".join(f"{column:10.2f}" for column in columns))
    if args.json:
        results = [dict(name=name, wall=wall, cpu=cpu, peak_mib=peak) for name, (wall, cpu, peak) in medians.items()]
        with open(args.json, "w") as file:
            json.dump(dict(bench="peers", scale=args.scale, rounds=args.rounds, results=results), file, indent=2)
    ratios = [ours[0] / min(peer[0] for peer in peers) for ours, *peers in list(zip(*runs.values()))[1:]]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"wall, millstream / fastest peer: {statistics.median(ratios):.2f} ({each})")


if __name__ == "__main__":
    main()
