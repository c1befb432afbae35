"""Every night at two: checks the input, runs millstream in a pod, checks the output, and tells whoever wants to know.

For Airflow 2.10 and later, and 3, with the provider cncf.kubernetes. Put this file and pod.yaml into the folder of DAGs;
the volume and the config are those of docker/k8s/volume and base. The report comes back by the provider's sidecar container for
XComs, whose image needs a shell, as the usual one has. Airflow variables, all optional:

    millstream_image      the image [millstream:latest]
    millstream_namespace  where pods run [default]
    millstream_webhook    is sent the outcome as JSON: state, failed steps, rows, rejected, seconds, run

A step that fails is tried again three times, five minutes apart. A webhook that fails is tried again too, and then shows as a
failed task; the run is a success nevertheless if the tables are right.
"""

import json
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

try:
    from airflow.sdk import DAG, task
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.decorators import task

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

STEPS = ["validate_input", "run", "validate_output"]
CONFIG = ["--config", "/config/config.yaml"]
REPORT = "/data/report.json"
# What a pod leaves here becomes the task's result.
RESULT = "/airflow/xcom/return.json"


def step(task_id, arguments, **settings):
    """A pod that does one thing."""
    return KubernetesPodOperator(
        task_id=task_id,
        name=f"millstream-{task_id.replace('_', '-')}",
        namespace="{{ var.value.get('millstream_namespace', 'default') }}",
        image="{{ var.value.get('millstream_image', 'millstream:latest') }}",
        arguments=arguments,
        pod_template_file=str(Path(__file__).with_name("pod.yaml")),
        **settings,
    )


def states(ti, dag_run):
    """How the steps ended."""
    if hasattr(ti, "get_task_states"):  # Airflow 3
        return ti.get_task_states(dag_id=ti.dag_id, task_ids=STEPS, run_ids=[ti.run_id]).get(ti.run_id, {})
    return {other.task_id: other.state for other in dag_run.get_task_instances()}


def outcome(report, ended):
    """What is told: how it ended, and what the run reported, if it came to that."""
    ended = {name: str(ended.get(name)) for name in STEPS}
    state = "succeeded" if set(ended.values()) == {"success"} else "failed"
    failed = [name for name, how in ended.items() if how not in ("success", "upstream_failed")]
    said = {"job": "millstream", "state": state, "failed_steps": failed}
    if report:
        rejected = sum(table["rejected"] for table in report["inputs"])
        rows = {table["name"]: table["rows"] for table in report["tables"]}
        said |= {"run": report["run_id"], "seconds": report["seconds"], "rejected": rejected, "rows": rows}
    return said


@task
def notify(webhook, ti=None, dag_run=None):
    """Sends the outcome to the webhook, or logs it where there is none."""
    said = json.dumps(outcome(ti.xcom_pull(task_ids="run"), states(ti, dag_run)))
    print(said)
    if webhook:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(webhook, data=said.encode(), headers=headers, method="POST")
        # An answer that is an error raises one.
        urllib.request.urlopen(request, timeout=30).close()


with DAG(
    dag_id="millstream_nightly",
    description="E-commerce analytics: validate, run, validate, notify",
    doc_md=__doc__,
    schedule="0 2 * * *",
    start_date=datetime(2024, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "execution_timeout": timedelta(hours=4)},
    tags=["millstream"],
) as dag:
    validate_input = step("validate_input", ["validate", "input", *CONFIG])
    run = step("run", ["run", *CONFIG, "--report", f"{REPORT},{RESULT}"], do_xcom_push=True)
    validate_output = step("validate_output", ["validate", "output", *CONFIG, "--report", REPORT])
    tell = notify("{{ var.value.get('millstream_webhook', '') }}")
    validate_input >> run >> validate_output >> tell.as_teardown(on_failure_fail_dagrun=False)
    [validate_input, run] >> tell
