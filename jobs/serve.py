"""Serves the run's merged model over HTTP: `python -m jobs.serve CONFIG --run DIR`. Submitted, the service stays."""

from __future__ import annotations

import os
import signal

from jobs import Job, main


def serve(job: Job) -> None:
    from serve_app import app, keys

    job.run.require("export")
    hashes, new = keys.ensure(job.run)
    url = app.deploy(job.project, job.run, hashes)
    job.run.write_json("serve/endpoint.json", {"url": url, "model": job.project.name})
    place = job.run.local(keys.PLAIN)
    job.console.print(f"serve: {job.project.name} at {url}/v1")
    if new is not None:
        job.console.print(f"API key: {new}\n  also in {place}: delete that file once the key is stored elsewhere")
    else:
        job.console.print(f"API key: shown at the first start; for a new one delete {job.run.local(keys.STORE)}")
    if place.exists():
        answer = app.ask(url, place.read_text(), job.project.name)
        job.console.print(f"probe: {answer['usage']['completion_tokens']} token generated in {answer['seconds']:.2f} s")
    ask = f'{{"model": "{job.project.name}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    job.console.print(
        f'curl {url}/v1/chat/completions -H "Authorization: Bearer $(cat {place})" '
        f"-H 'Content-Type: application/json' -d '{ask}'",
        soft_wrap=True,
        markup=False,
    )
    if not {"RAY_JOB_ID", "RAY_ADDRESS"} & os.environ.keys():
        job.console.print("This Ray is private to the command: the service ends with it. Ctrl-C to stop")
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main(serve, str(__doc__))
