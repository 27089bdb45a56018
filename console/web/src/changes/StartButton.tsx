import { Button } from "@mantine/core";
import { lazy, Suspense, useState } from "react";

import type { ScenarioCard } from "../api/types";

const StartDialog = lazy(() => import("./StartDialog"));

/** Opens the dialog in which a training is asked for. */
export function StartButton({ scenario, quiet = false }: { scenario: ScenarioCard; quiet?: boolean }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      <Button size="xs" variant={quiet ? "default" : "filled"} onClick={() => setOpen(true)} aria-label={`Start ${scenario.title}`}>
        Start
      </Button>
      {open && (
        <Suspense>
          <StartDialog scenario={scenario} onClose={() => setOpen(false)} />
        </Suspense>
      )}
    </>
  );
}
