"""Loads the DAG in the Airflow that this Python has, and runs it, each pod replaced by the same command on this machine.

usage: check.py MILLSTREAM [--load-only]

Four runs: one that goes well; one whose input can't be used; one whose webhook answers with an error; one without a webhook.
Exit status 0 where all went as they should. Needs apache-airflow and apache-airflow-providers-cncf-kubernetes.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

HERE = Path(__file__).parent
# A cluster that is never called: pods are made for it, and not sent.
CLUSTER = """
apiVersion: v1
kind: Config
current-context: none
contexts: [{name: none, context: {cluster: none, user: none}}]
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: none, user: {}}]
"""
# What stands in for the pods: the image's paths are folders of the test.
LOCAL = '''
import json, os, re, subprocess, sys
from datetime import timedelta
import airflow.providers.cncf.kubernetes.operators.pod as pods
try:
    from airflow.sdk import BaseOperator
except ImportError:
    from airflow.models import BaseOperator

class OnThisMachine(BaseOperator):
    template_fields = ("image", "arguments")
    def __init__(self, *, arguments, image, name, namespace, pod_template_file, do_xcom_push=False, **settings):
        super().__init__(do_xcom_push=do_xcom_push, **settings)
        self.arguments, self.image = arguments, image
    def execute(self, context):
        assert self.image == "millstream:latest", self.image
        base, result = os.environ["CHECK_FOLDER"], os.environ["CHECK_FOLDER"] + "/xcom/return.json"
        here = lambda text: re.sub(r"(^|,)/(airflow/)?(data|config|xcom)/", rf"\\1{base}/\\3/", text)
        done = subprocess.run([os.environ["CHECK_MILLSTREAM"], *map(here, self.arguments)], text=True, capture_output=True)
        print(done.stdout, done.stderr)
        if done.returncode:
            raise RuntimeError(f"status {done.returncode}: {done.stderr}")
        return json.load(open(result)) if self.do_xcom_push else None

pods.KubernetesPodOperator = OnThisMachine
sys.path.insert(0, os.environ["CHECK_DAGS"])
from millstream_nightly import dag
for task in dag.tasks:
    task.retries, task.retry_delay = 1, timedelta(seconds=1)
'''


def load():
    """The DAG as it is: what it does, in which order, when, and how often it tries; and that its pods can be made."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag

    bag = DagBag(str(HERE / "millstream_nightly.py"))
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags["millstream_nightly"]
    assert list(dag.task_dict) == ["validate_input", "run", "validate_output", "notify"], dag.task_dict
    assert dag.task_dict["run"].upstream_task_ids == {"validate_input"}
    assert dag.task_dict["validate_output"].upstream_task_ids == {"run"}
    assert not dag.catchup and dag.max_active_runs == 1
    assert dag.schedule == "0 2 * * *" if hasattr(dag, "schedule") else dag.schedule_interval == "0 2 * * *", dag.timetable
    for task in dag.tasks:
        assert task.retries == 3 and task.retry_delay.total_seconds() == 300, task
    pod = dag.task_dict["run"].build_pod_request_obj()
    container = pod.spec.containers[0]
    assert container.args[:3] == ["run", "--config", "/config/config.yaml"], container.args
    assert container.security_context.read_only_root_filesystem and pod.spec.security_context.run_as_non_root
    # Another container waits for the report, to hand it over as the task's result.
    assert [container.name for container in pod.spec.containers] == ["base", "airflow-xcom-sidecar"]
    claims = [volume.persistent_volume_claim.claim_name for volume in pod.spec.volumes if volume.persistent_volume_claim]
    mounts = {mount.mount_path for mount in container.volume_mounts}
    assert claims == ["millstream"] and mounts == {"/data", "/config", "/tmp", "/airflow/xcom"}, (claims, mounts)
    print("loaded:", ", ".join(dag.task_dict))


class Webhook(BaseHTTPRequestHandler):
    """Keeps what it is told, and answers as it should."""

    said, status = [], 200

    def do_POST(self):
        Webhook.said.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(Webhook.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def run(folder, millstream, webhook, day):
    """One night; how its tasks ended, and what the webhook was told."""
    Webhook.said.clear()
    environment = os.environ | {
        "CHECK_FOLDER": str(folder),
        "CHECK_MILLSTREAM": millstream,
        "CHECK_DAGS": str(HERE),
        "AIRFLOW_VAR_MILLSTREAM_WEBHOOK": webhook,
        # Not in the environment of a pod either.
        "INPUT_PATH": str(folder / "data/input"),
        "OUTPUT_PATH": str(folder / "data/output"),
    }
    command = [sys.executable, "-m", "airflow", "dags", "test", "millstream_nightly", day]
    done = subprocess.run(command, env=environment, text=True, capture_output=True, timeout=600)
    database = sqlite3.connect(f"{os.environ['AIRFLOW_HOME']}/airflow.db")
    run_id, state = database.execute("select run_id, state from dag_run order by id desc limit 1").fetchone()
    tasks = dict(database.execute("select task_id, state from task_instance where run_id = ?", [run_id]))
    return state, tasks, list(Webhook.said), done


def nights(millstream):
    """The four runs."""
    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    folder = Path(os.environ["AIRFLOW_HOME"]) / "night"
    (folder / "xcom").mkdir(parents=True)
    (folder / "config").mkdir()
    shutil.copy(HERE.parent / "k8s/base/config.yaml", folder / "config/config.yaml")
    subprocess.run([millstream, "generate", "--scale", "0.002", "--output", str(folder / "data/input")], check=True)

    def expect(name, found, state, tasks, said):
        dag_state, task_states, told, done = found
        wanted = dict(zip(["validate_input", "run", "validate_output", "notify"], tasks))
        if (dag_state, task_states) != (state, wanted) or [one["state"] for one in told] != said:
            print(done.stdout[-6000:], done.stderr[-6000:])
            raise SystemExit(f"{name}: {dag_state}, {task_states}, told {told}; wanted {state}, {wanted}, {said}")
        print(f"{name}: {dag_state}; {task_states}; told {told}")
        return told

    ok, failed, left = "success", "failed", "upstream_failed"
    told = expect("a good night", run(folder, millstream, url, "2024-01-02"), ok, [ok] * 4, ["succeeded"])
    assert told[0]["rows"]["enriched_data"] == 11957 and told[0]["rejected"] == 0 and told[0]["seconds"] > 0, told
    Webhook.status = 500
    expect("a webhook that fails", run(folder, millstream, url, "2024-01-03"), ok, [ok, ok, ok, failed], ["succeeded"] * 2)
    Webhook.status = 200
    expect("no webhook", run(folder, millstream, "", "2024-01-04"), ok, [ok] * 4, [])
    shutil.rmtree(folder / "data/input/orders")
    told = expect("no orders", run(folder, millstream, url, "2024-01-05"), failed, [failed, left, left, ok], ["failed"])
    assert told[0]["failed_steps"] == ["validate_input"] and "rows" not in told[0], told


def main():
    with tempfile.TemporaryDirectory() as home:
        dags = Path(home) / "dags"
        dags.mkdir()
        (dags / "nightly.py").write_text(LOCAL)
        (Path(home) / "cluster.yaml").write_text(CLUSTER)
        os.environ |= {
            "KUBECONFIG": f"{home}/cluster.yaml",
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        }
        migrate = subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], text=True, capture_output=True)
        assert migrate.returncode == 0, migrate.stderr[-3000:]
        load()
        if "--load-only" not in sys.argv:
            nights(str(Path(sys.argv[1]).resolve()))


main()
