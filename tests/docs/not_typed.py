"""Commands that the pages show and ``test_typed`` does not type: another test runs them, or nothing
does, for the reason that stands here."""

from __future__ import annotations

# A pattern of the command, and the test (or the target of the Makefile) that runs it, or what it
# does with other arguments.
ELSEWHERE = {
    r"reason = \"the answer shouts\"[\s\S]*":
        "tests/pawl/test_plugins.py::test_the_page_names_each_kind_and_its_detector_is_one",
    r"make docs":
        "tests/pawl/test_links.py::test_the_site_is_whole_and_names_each_part_of_the_code",
    r"python tests/pawl/test_readme\.py": "tests/pawl/test_readme.py::test_tree_is_true",
    r"python requirements/licences\.py": "Makefile::style",
    r"python -m benchmarks\.(?!NAME)\w+":  # with --help; make bars measures
        "tests/bars/test_benchmarks.py::test_every_command_says_what_it_does",
    r"python -m examples FOLDER":
        "tests/examples/test_use_cases.py::test_a_whole_run_teaches_what_the_prompts_did_not",
    r"pawl nightly":
        "tests/refine/night/test_beside_server.py::test_two_nights_beside_a_server",
    r"pawl nightly --fresh":
        "tests/refine/night/test_nightly.py::test_a_fresh_night_gives_up_the_interrupted_one",
    r"pawl why RUN": "tests/refine/test_bad_challengers.py::test_identical_to_the_champion",
    r"pawl search --minutes 60":
        "tests/refine/test_cross_validation.py::"
        "test_a_killed_search_goes_on_and_its_recipe_is_trained_on_all_rows",
    r"pawl eval smollm2-135m --suite examples/suite":
        "tests/pawl/test_wheel.py::test_a_night_and_an_evaluation_from_a_hostile_folder",
    r"pawl nightly --challenger pawl@4":
        "tests/refine/night/test_prompt_versions.py::"
        "test_a_prompt_is_tested_as_it_is_served_and_nothing_is_trained",
    r"pawl search --at-once 3":
        "tests/refine/test_cluster.py::"
        "test_recipes_are_tried_on_nodes_and_again_where_one_is_lost",
    r"python -P|python -m vllm\.entrypoints\.openai\.api_server":
        "tests/docs/test_typed.py::test_servers_that_are_started",
}  # fmt: skip

# A pattern of the command, and why nothing runs it.
NOT_RUN = {
    r"make (up|check|test|lint|cluster|install)|\.venv/bin/python -m pytest .*|"
    r"requirements/install\.sh( gpu)?|make -C /opt/pawl install|"
    r"\.venv/bin/python -m pip install --no-deps -r requirements/ray\.txt":
        "makes the environment that the tests run in, or runs them",
    r"requirements/lock\.sh|pip install .*|pip uninstall .*|git clone REPOSITORY /opt/pawl|"
    r"git -C /opt/pawl (pull|checkout OLD) && .*|git -C /opt/pawl (rev-parse HEAD|checkout main)|"
    r"git pull|git checkout OLD|"
    r"pawl up --model Qwen/Qwen2\.5-0\.5B-Instruct|"
    r"pawl eval smollm2-135m --suite official --limit 300|"
    r"python -m examples translation --model \S+":
        "fetches packages, commits, models or benchmarks from the net",
    r"make demo|pawl --state-dir \.pawl-demo .*|"
    r"python -m examples (sentiment|support|topics|summaries|extraction|tone|translation)":
        "trains the model that comes with Pawl for half an hour and more: make bars does",
    r"apt-get install .*": "installs Debian's packages",
    r"useradd .*|systemctl .*|systemd-analyze \w+": "needs root and systemd as the first process",
    r"docker .*": "needs a container engine; tests/deploy reads the files",
    r"kubectl .*|kustomize .*": "needs a cluster of Kubernetes; tests/deploy reads the files",
    r"nvidia-smi -L": "needs a GPU",
    r"ray start.*": "make cluster starts the nodes of Ray by its Python module",
    r"tensorboard .*": "another program's server, on a fixed port",
    r"vllm bench serve|python -m benchmarks\.NAME|pawl \.\.\.": "is a name, no whole command",
}  # fmt: skip
