"""What is typed of the commands that the pages show, in which order, and what is not, and why."""

from __future__ import annotations

from tests.docs.shell import Step

PASSWORD = "four words in a row\n"

# Beside a server with the tests' small engine, two replicas, and promotion.approval.
BESIDE_A_SERVER = (
    Step(
        'from openai import OpenAI\n\nclient = OpenAI(base_url="http://127.0.0.1:8000/v1", '
        'api_key="any")\nanswer = client.chat.completions.create(\n    model="pawl", messages='
        '[{"role": "user", "content": "What colour is a ripe banana?"}]\n)\n'
        "print(answer.choices[0].message.content, answer.model, answer.id)\n",
        r"heard \d+ characters\. base chatcmpl-",
        learns={"answer": r"(chatcmpl-\S+)"},
    ),
    Step(
        "curl -s http://127.0.0.1:8000/v1/feedback -H 'Content-Type: application/json' -d '{\n"
        '  "completion_id": "chatcmpl-...", "thumb": "down", "categories": ["incorrect"],\n'
        '  "correction": "A ripe banana is yellow."}\'',
        r'"duplicate": ?false',
        instead={"chatcmpl-...": "{answer}"},
    ),
    Step("OPENAI_BASE_URL=http://127.0.0.1:8000/v1", r"^pawl\b",
         then="export OPENAI_BASE_URL; OPENAI_API_KEY=any python -c 'import openai; "
              "print(*[one.id for one in openai.OpenAI().models.list()])'"),
    Step("pawl status", r"champion  base[\s\S]*engine    ready"),
    Step("python -m examples", r"sentiment +Sentiment"),
    Step("pawl settings", r"train\.method = "),
    Step("pawl doctor", r"ok +server +http"),
    Step("pawl doctor --model FOLDER", r"ok +model +base", instead={"FOLDER": "base"}),
    Step("pawl import ratings.json --dry-run", r"8 rows would be added"),
    Step("pawl import ratings.json", r"8 rows added"),
    Step("pawl import /dev/stdin", r"1 rows added",
         stdin='{"prompt": "2 + 2?", "completion": "4"}'),
    Step("pawl export rows.jsonl --format preference", r"n_written: \d+",
         then="grep -q chosen rows.jsonl"),
    Step("pawl export FILE", r"n_written: \d+", instead={"FILE": "all.jsonl"},
         then="test -s all.jsonl"),
    Step("pawl categories --json > categories.json", r"^$",
         then="sed -i '0,/\"train\"/s//\"review\"/' categories.json"),
    Step("pawl categories --from categories.json", r"^1 changed"),
    Step("pawl categories --from FILE", r"^0 changed", instead={"FILE": "categories.json"}),
    Step("pawl curate", r"train: ", learns={"snapshot": r"^([0-9a-f]{16}) "}),
    Step("pawl curate --without ann", r"train: ", learns={"other": r"^([0-9a-f]{16}) "}),
    Step("pawl curate --explain ID", r"row \w+: sft in train, weight", instead={"ID": "{answer}"}),
    Step("pawl snapshot card ID", r"snapshot_id: {snapshot}", instead={"ID": "{snapshot}"}),
    Step("pawl snapshot diff A B", r"n_removed: [1-9]", instead={"A B": "{snapshot} {other}"}),
    Step("pawl schedule", r"schedule\.cron is not set"),
    # Three challengers that the gate let through: run-1, run-2, run-3.
    Step("pawl promote RUN", r"pawl@1", instead={"RUN": "run-1"}),
    Step("pawl reject RUN", r"pawl@1", instead={"RUN": "run-1"}),
    Step("pawl promote RUN", r"pawl@2", instead={"RUN": "run-2"}),
    Step("pawl approve RUN", r"pawl@2", instead={"RUN": "run-2"}),
    Step("pawl promote RUN --force", r"pawl@3", instead={"RUN": "run-3"}),
    Step("pawl drill", r"pawl@2"),
    Step("pawl shadow base pawl@3", r"\d+ prompts"),
    Step("pawl shadow --last 50 base pawl@3", r"\d+ prompts"),
    Step("pawl promote --system-prompt house.txt --temperature 0.3", r"pawl@4"),
    Step("pawl promote --system-prompt house.txt --on pawl@3", r"pawl@5"),
    Step("pawl promote --system-prompt FILE", r"pawl@6", instead={"FILE": "house.txt"}),
    Step("pawl promote pawl@4 --force", r"pawl@4"),
    Step("pawl rollback", r"pawl@3"),
    Step("pawl rollback --to base", r"base"),
    Step("pawl history", r"rollback  pawl@3 -> base"),
    Step("pawl versions", r"pawl@5 .*on pawl@3"),
    Step("pawl engines drain 2", r"2  out"),
    Step("pawl engines return 2", r"  2  "),
    Step("pawl engines list", r"  1  ready"),
    Step("pawl gateway --port 8001", r"http://127\.0\.0\.1:\d+", instead={"8001": "0"},
         serves=True),
    Step("pawl backup FILE", r"SHA-256", instead={"FILE": "first.tar"}),
    Step("pawl restore FILE", r"as they were", instead={"FILE": "first.tar"},
         environment={"PAWL_STATE_DIR": "restored"}),
    Step("pawl salvage", r"is whole", environment={"PAWL_STATE_DIR": "restored"}),
    Step("pawl backup /backups/pawl-monday.tar", r"SHA-256",
         instead={"/backups": "backups"}),
    Step("pawl restore /backups/pawl-monday.tar --state-dir /srv/new", r"as they were",
         instead={"/backups": "backups", "/srv": "srv"}),
    # From the first key on everybody needs one.
    Step("pawl keys add bot", r"pawl_\w+", learns={"secret": r"^(pawl_\w+)$"}),
    Step("OPENAI_API_KEY=pawl_...", r"^pawl\b", instead={"pawl_...": "{secret}"},
         then="export OPENAI_API_KEY; OPENAI_BASE_URL={url}/v1 python -c 'import openai; "
              "print(*[one.id for one in openai.OpenAI().models.list()])'"),
    Step("pawl keys add ui --may-name-raters", r"pawl_"),
    Step("pawl keys add open-webui --may-name-raters", r"pawl_"),
    Step("pawl keys add desk --role reviewer", r"pawl_"),
    Step("pawl keys add far --role gateway", r"pawl_", learns={"far": r"^(pawl_\w+)$"}),
    Step("pawl gateway http://HOST:8000 --host 0.0.0.0", r"http://\S+:\d+",
         instead={"http://HOST:8000": "{url}", "0.0.0.0": "0.0.0.0 --port 0"},
         environment={"PAWL_API_KEY": "{far}", "PAWL_STATE_DIR": "elsewhere"}, serves=True),
    Step("pawl keys list", r"far +gateway"),
    Step("pawl keys revoke bot", r"refused from now on", then="pawl keys list | grep revoked"),
    Step("pawl accounts add ann", r"'ann'", stdin=PASSWORD),
    Step("pawl accounts add bob --role reviewer --one-time", r"once"),
    Step("pawl accounts password ann", r"ann", stdin="another four words in a row\n"),
    Step("pawl accounts role ann administrator", r"administrator"),
    Step("pawl accounts list", r"ann +administrator"),
    Step("pawl accounts remove bob", r"bob"),
    Step("sudo -u pawl /opt/pawl/.venv/bin/pawl accounts add ann --role administrator --state-dir "
         "/var/lib/pawl/state", r"'ann'", stdin=PASSWORD,
         instead={"/var/lib/pawl/state": "srv/new"}),
    Step("curl .../admin/status", r'"champion":',
         instead={".../": "-sH 'Authorization: Bearer {admin}' {url}/"}),
    Step("pawl audit", r"admin\.key .*add key"),
    Step("pawl forget --user front/ann --dry-run", r"Under front/ann"),
    Step("pawl forget --user front/ann --certificate ann.json", r"Erase this for ever",
         answers="y\n", then="grep -q front/ann ann.json"),
    Step("pawl forget --conversation conv-7f...", r"Erase this for ever",
         instead={"conv-7f...": "conv-7f"}, answers="y\n"),
    Step("pawl forget --user ann", r"Under ann", answers="y\n"),
    Step("pawl forget --list", r"answers"),
)  # fmt: skip

# In a folder with corrections, without a server, on a tiny model that trains in seconds.
ALONE = (
    Step(".venv/bin/python -m pip install --no-deps --no-build-isolation examples/plugins", r"",
         instead={"install ": "install --quiet --no-index --target site "}),
    Step("pawl plugins", r"shouting .* used \(",
         environment={"PAWL_CURATION__DETECTORS": '["shouting"]'}),
    Step("pawl --set curation.detectors=shouting --set curation.reject=shouting curate",
         r"left out: 2 the answer shouts", environment={"HF_HUB_OFFLINE": "1"}),
    Step("pawl nightly --dry-run", r"method: sft"),
    Step("17 2 * * *  /opt/pawl/.venv/bin/pawl nightly --scheduled --state-dir /srv/pawl",
         r"rows", instead={"/srv/pawl": ".pawl"},
         environment={"PAWL_SCHEDULE__MIN_NEW_ROWS": "1000"}),
    Step("pawl schedule", r"no_run .*rows"),
    Step("pawl --set gate.suite=examples/suite nightly", r"report\.html",
         learns={"run": r"/(run-\w+-\w+-\w+)/"}),
    Step("pawl runs", r"^{run} "),
    Step("pawl show RUN", r"verdict: [\s\S]*workshop [\s\S]*^report: ", instead={"RUN": "{run}"}),
    Step("pawl train", r"^adapter: \S+"),
)  # fmt: skip

# Where nothing runs. What belongs to root lies in the test's folder.
BY_ROOT = (
    Step("install -d /etc/pawl", r"^$", instead={"/etc": "etc"}),
    Step("touch /etc/pawl/pawl.toml", r"^$", instead={"/etc": "etc"}),
    Step("cp /opt/pawl/deploy/systemd/pawl* /etc/systemd/system/", r"^pawl\.service$",
         instead={"/opt/pawl/": "", "/etc": "etc"}, then="ls etc/systemd/system"),
    Step("mkdir -m 755 deploy/secrets", r"^$"),
    Step("head -c 24 /dev/urandom | base64 > deploy/secrets/grafana_password", r"^33$",
         then="wc -c < deploy/secrets/grafana_password"),
    Step("touch deploy/secrets/pawl_metrics_key", r"^$"),
)  # fmt: skip

# With vLLM; the first until it can answer.
UP = (
    Step("pawl up --model FOLDER", r"Ready after", instead={"FOLDER": "base"}, serves=True),
    Step("pawl up --model FILE.gguf", r"Pawl is at", instead={"FILE.gguf": "{gguf}"}, serves=True),
    Step("pawl up --host 0.0.0.0", r"Sign in as 'admin'[\s\S]*Pawl is at", serves=True),
    Step("pawl up", r"Pawl is at", serves=True),
)  # fmt: skip
