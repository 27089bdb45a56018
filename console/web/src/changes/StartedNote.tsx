import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";

import { statusQuery } from "../api/queries";
import { Note } from "../parts/Note";
import { RunLink } from "../parts/RunLink";

interface Props {
  started: { run_id: string; run_url: string };
  onClose: () => void;
}

/** The run that was launched, and where to watch it. */
export function StartedNote({ started, onClose }: Props) {
  const sessions = useQuery(statusQuery).data?.sessions ?? [];
  const session = sessions.find((one) => one.run_id === started.run_id);
  return (
    <div className="stack">
      <Note tone="good">
        <strong>{session === undefined ? "Queued." : "Training."}</strong>{" "}
        <RunLink url={started.run_url} id={started.run_id} />
        <p>
          {session === undefined
            ? "Its session appears here once a process has taken it up; that takes some seconds."
            : "Its session has begun."}
        </p>
      </Note>
      <div className="row">
        <Button component={Link} href={session === undefined ? "/training" : `/training/${session.id}`} onClick={onClose} data-autofocus>
          Watch it
        </Button>
        <Button variant="default" onClick={onClose}>
          Close
        </Button>
      </div>
    </div>
  );
}
