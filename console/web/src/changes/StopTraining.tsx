import { Button } from "@mantine/core";
import { useState } from "react";

import { stopTraining } from "../api/wishes";
import { ReasonDialog } from "./ReasonDialog";

interface Props {
  of: { session: string } | { run_id: string };
  name: string;
}

/** Asks a session, or a run that is still queued, to stop. */
export function StopTraining({ of, name }: Props) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button color="red" size="xs" onClick={() => setOpen(true)}>
        Stop
      </Button>
      {open && (
        <ReasonDialog
          title={`Stop ${name}`}
          verb="Stop training"
          post={async (wish) => {
            const { outcome, detail } = await stopTraining(of, wish);
            return `${outcome}: ${detail}`;
          }}
          onClose={() => setOpen(false)}
        >
          <p>
            A session ends after the episode that it is in. Nothing is applied: the parameters in force stay as they are.
          </p>
        </ReasonDialog>
      )}
    </>
  );
}
