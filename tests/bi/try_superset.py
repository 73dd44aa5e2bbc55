"""Try the dashboard on a real Superset, beside a real monitor: import, query every chart over and over, take pictures.

python -m tests.bi.try_superset --out FOLDER

Needs Debian's chromium. FOLDER keeps Superset's environment, so that a second try is quick; everything else in it is
made anew. Not part of the tests that run by default: it takes minutes and several hundred megabytes.
"""

import argparse
import datetime as dt
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

PACKAGES = [
    "apache-superset==6.1.0",
    "rich",
    "cachetools",
    "flask-caching==2.3.1",
    "cachelib==0.13.0",
    "setuptools<81",
    "duckdb>=1.5.5,<2",
    "duckdb-engine",
    "psycopg2-binary",
    "gunicorn",
    "pillow",
    "playwright",
]
CHROMIUM = Path("/usr/bin/chromium")
USER, PASSWORD = "admin", "admin"  # of a server on 127.0.0.1 that lives as long as this script
CONFIGURATION = """
SECRET_KEY = {secret!r}
SQLALCHEMY_DATABASE_URI = "sqlite:///{home}/superset.sqlite?check_same_thread=false"
PREVENT_UNSAFE_DB_CONNECTIONS = False
WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False
RATELIMIT_ENABLED = False
LOG_LEVEL = "WARNING"
FILTER_STATE_CACHE_CONFIG = {{"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "{home}/filters"}}
EXPLORE_FORM_DATA_CACHE_CONFIG = {{"CACHE_TYPE": "FileSystemCache", "CACHE_DIR": "{home}/explore"}}
"""
HISTORY_DAYS = range(-38, 0, 2)  # a run every other day, so that leakage over time is a line
FRESH_SECONDS = 90
MONEY_TITLES = ("Leakage now", "Overbilled", "Not due")


def say(text: str) -> None:
    print(f"{dt.datetime.now():%H:%M:%S}  {text}", flush=True)


def wait_for(what: str, ready: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.5)


# ---- ABR -------------------------------------------------------------------------------------------------------------


def abr(*arguments: object, folder: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "abr", *map(str, arguments)], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode != code:
        raise SystemExit(f"abr {' '.join(map(str, arguments))} exits {done.returncode}: {done.stderr}")
    return done.stdout


def simulated(folder: Path) -> Path:
    """Return a database of a synthetic firm with runs on the last days, and one today that halted."""
    database = folder / "firm.duckdb"
    today = dt.date.today()
    first = today + dt.timedelta(days=HISTORY_DAYS[0])
    abr("simulate", "--logs", 20_000, "--contracts", 60, "--days", 300, "--seed", 3, "--until", first, "--database",
        database, folder=folder)  # fmt: skip
    for day in HISTORY_DAYS:
        until = today + dt.timedelta(days=day)
        abr("monitor", "--source", "simulator", "--until", until, "--cycles", 1, "--database", database, folder=folder)
    abr("monitor", "--source", "simulator", "--fail-at", 1, "--database", database, folder=folder, code=3)
    return database


@contextmanager
def monitored(database: Path) -> Iterator[Path]:
    """Run a monitor beside what follows; yield the published copy."""
    published = database.with_name(database.name + ".published") / "current" / "abr_audit.duckdb"
    with (database.parent / "monitor.log").open("w") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "abr",
                "monitor",
                "--source",
                "simulator",
                "--interval",
                "1",
                "--database",
                database,
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=database.parent,
        )
        try:
            wait_for(f"the published copy {published}", lambda: published.exists() or process.poll() is not None, 60)
            yield published
            if process.poll() is not None:
                raise SystemExit(f"the monitor ended with {process.returncode}; see {log.name}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


# ---- Superset --------------------------------------------------------------------------------------------------------


def environment_of(folder: Path) -> Path:
    """Return the scripts folder of an environment with Superset, made where it is not there."""
    scripts = folder / "superset" / "bin"
    if not (scripts / "playwright").exists():
        say("installing Superset, which takes a minute or two")
        venv.create(folder / "superset", with_pip=True)
        subprocess.run([scripts / "pip", "install", "--quiet", *PACKAGES], check=True)
    return scripts


@contextmanager
def superset(scripts: Path, home: Path) -> Iterator[str]:
    """Run a Superset of our own on a free port of 127.0.0.1; yield its address."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    (home / "superset_config.py").write_text(CONFIGURATION.format(home=home, secret=os.urandom(32).hex()))
    environment = os.environ | {
        "SUPERSET_CONFIG_PATH": str(home / "superset_config.py"),
        "SUPERSET_HOME": str(home),
        "FLASK_APP": "superset.app:create_app()",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with (home / "superset.log").open("w") as log:

        def command(*words: str) -> None:
            subprocess.run(
                [scripts / "superset", *words], env=environment, stdout=log, stderr=log, cwd=home, check=True
            )

        command("db", "upgrade")
        command("fab", "create-admin", "--username", USER, "--firstname", "A", "--lastname", "B", "--email",
                "admin@example.com", "--password", PASSWORD)  # fmt: skip
        command("init")
        process = subprocess.Popen(
            [scripts / "gunicorn", "-w", "1", "--threads", "8", "--timeout", "120", "-b", f"127.0.0.1:{port}",
             "superset.app:create_app()"],
            env=environment, stdout=log, stderr=log, cwd=home,
        )  # fmt: skip
        try:
            wait_for("Superset", lambda: is_healthy(address), 120)
            yield address
        finally:
            process.terminate()
            process.wait(30)


def is_healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class Api:
    """Superset's REST API, as an administrator."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.headers: dict[str, str] = {}
        login = {"username": USER, "password": PASSWORD, "provider": "db"}
        self.headers = {"Authorization": f"Bearer {self.post('security/login', login)['access_token']}"}

    def get(self, path: str) -> dict:
        return self._call(urllib.request.Request(f"{self.address}/api/v1/{path}", headers=self.headers))

    def post(self, path: str, body: object) -> dict:
        headers = self.headers | {"Content-Type": "application/json"}
        data = json.dumps(body).encode()
        return self._call(urllib.request.Request(f"{self.address}/api/v1/{path}", data, headers))

    def upload(self, path: str, field: str, file: Path, **fields: str) -> dict:
        border = "a-border-that-no-zip-file-holds"
        parts = [f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
                 for name, value in fields.items()]  # fmt: skip
        parts += [
            f'--{border}\r\nContent-Disposition: form-data; name="{field}"; filename="{file.name}"\r\n'
            "Content-Type: application/zip\r\n\r\n".encode(),
            file.read_bytes(),
            f"\r\n--{border}--\r\n".encode(),
        ]
        headers = self.headers | {"Content-Type": f"multipart/form-data; boundary={border}"}
        return self._call(urllib.request.Request(f"{self.address}/api/v1/{path}", b"".join(parts), headers))

    def _call(self, request: urllib.request.Request) -> dict:
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{request.full_url} answers {error.code}: {error.read().decode()[:2000]}") from None


def charts(api: Api) -> dict[str, dict]:
    """Return what each chart asks, by its title."""
    listed = api.get("chart/?" + urllib.parse.urlencode({"q": "(page_size:100)"}))["result"]
    asked = {chart["slice_name"]: api.get(f"chart/{chart['id']}")["result"]["query_context"] for chart in listed}
    return {title: json.loads(context) for title, context in asked.items()}


def answered(api: Api, title: str, question: dict) -> list[dict]:
    """Return a chart's rows; whatever is wrong with them ends the script."""
    for result in api.post("chart/data", question | {"force": True})["result"]:
        if result.get("error") or result["status"] != "success":
            raise SystemExit(f"{title}: {result.get('error') or result['status']}")
        if not result["data"]:
            raise SystemExit(f"{title}: no rows")
        rows = result["data"]
    return rows


def implausible(title: str, rows: list[dict]) -> str | None:
    """Return what cannot be true about a chart's rows."""
    problem = None
    if title == "Leakage now, by currency":
        currencies = [row["currency"] for row in rows]
        if len(set(currencies)) != len(currencies) or not {"EUR", "USD"} <= set(currencies):
            problem = f"currencies {currencies}"
        elif not any(row["leakage"] for row in rows):
            problem = "nothing leaks"
    elif title.startswith("Flagged contracts:"):
        amounts = [(Decimal(str(row["leakage_amount"])), Decimal(str(row["threshold_amount"]))) for row in rows]
        if any(leakage <= threshold for leakage, threshold in amounts):
            problem = "a contract that is not above its threshold"
    elif title in MONEY_TITLES and not next(iter(rows[0].values())):
        problem = "no amount in a currency that has some"
    elif title.startswith("Halted runs") and rows[0]["halts"] != 1:
        problem = f"{rows[0]['halts']} halted runs, where today's is the only one"
    elif title == "Last run (UTC)" and not -5 < age_seconds(rows) < FRESH_SECONDS:
        problem = f"the last run is {age_seconds(rows):.0f} s old"
    return problem


def age_seconds(rows: list[dict]) -> float:
    """Return how old the data is, by the rows of the last run."""
    return time.time() - rows[0]["last_run"] / 1000


def in_one_currency(question: dict) -> dict:
    """Return the question as the dashboard's currency filter asks it."""
    queries = [query | {"filters": [*query["filters"], {"col": "currency", "op": "IN", "val": ["EUR"]}]}
               for query in question["queries"]]  # fmt: skip
    return question | {"queries": queries}


def mixes_currencies(api: Api, title: str, question: dict) -> bool:
    """Say whether a total of money without its currency is more than a blank."""
    return any(value is not None for value in answered(api, title, question)[0].values())


def ask_everything(api: Api, seconds: float) -> None:
    questions = charts(api)
    for title in MONEY_TITLES:
        if mixes_currencies(api, title, questions[title]):
            raise SystemExit(f"{title}: currencies were added")
        questions[title] = in_one_currency(questions[title])
    count, slowest, lags, until = 0, 0.0, [], time.monotonic() + seconds
    while time.monotonic() < until:
        for title, question in questions.items():
            started = time.monotonic()
            rows = answered(api, title, question)
            slowest = max(slowest, time.monotonic() - started)
            count += 1
            if problem := implausible(title, rows):
                raise SystemExit(f"{title}: {problem}")
            if title == "Last run (UTC)":
                lags.append(age_seconds(rows))
    say(
        f"{len(questions)} charts, {count} queries in {seconds:.0f} s under a running monitor, 0 errors; "
        f"slowest {slowest:.2f} s, data at most {max(lags):.1f} s old"
    )


def imported(api: Api, bundle: Path) -> str:
    """Import the bundle as a person does, then again as a script does; return the dashboard's address."""
    api.upload("dashboard/import/", "formData", bundle, passwords="{}", overwrite="true")
    api.upload("assets/import/", "bundle", bundle, passwords="{}")
    found = api.get("dashboard/")["result"]
    if len(found) != 1:
        raise SystemExit(f"dashboards: {[dashboard['dashboard_title'] for dashboard in found]}")
    say(f"imported {found[0]['dashboard_title']!r}, twice")
    return found[0]["slug"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the environment, the logs and the pictures")
    parser.add_argument("--seconds", type=float, default=30, help="how long to ask every chart again and again")
    given = parser.parse_args()
    if not CHROMIUM.exists():
        raise SystemExit(f"{CHROMIUM} is missing, which takes the picture: apt install chromium")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    folder = given.out.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    firm = folder / "firm"
    shutil.rmtree(firm, ignore_errors=True)
    firm.mkdir()
    scripts = environment_of(folder)
    say(f"simulating a firm with {len(HISTORY_DAYS)} days of runs")
    database = simulated(firm)
    with monitored(database), superset(scripts, folder / "home") as address:
        bundle = firm / "abr.zip"
        abr("bi", "superset", "--database", database, "--out", bundle, folder=firm)
        api = Api(address)
        slug = imported(api, bundle)
        ask_everything(api, given.seconds)
        pictures = Path(__file__).with_name("take_pictures.py")
        subprocess.run([scripts / "python", pictures, address, USER, PASSWORD, slug, folder, CHROMIUM], check=True)


if __name__ == "__main__":
    main()
