import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";

import { parametersQuery } from "../../api/queries";
import type { Parameters as InForce } from "../../api/types";
import type { Change } from "../../api/wishes";
import { ChangeDialog } from "../../changes/ChangeDialog";
import { HoldDialog } from "../../changes/HoldDialog";
import { capitalized, counted, scopeName, short, versionName } from "../../format/names";
import { Figure, Figures } from "../../parts/Figure";
import { Moment } from "../../parts/Moment";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { ScopeSelect } from "../../parts/ScopeSelect";
import { View } from "../../parts/View";
import { ParameterTable } from "./ParameterTable";

type Asked = { what: "hold"; name: string } | { what: "lift"; names: string[] | null } | { what: "reset" };

/** What the live algorithm decides with, in one scope. */
export default function Parameters() {
  const [scope, setScope] = useState("global");
  const [asked, setAsked] = useState<Asked | null>(null);
  const parameters = useQuery(parametersQuery(scope));
  const done = () => setAsked(null);
  return (
    <View
      title="Parameters"
      about="Symbols and regimes without parameters of their own take the global ones."
      actions={<ScopeSelect value={scope} onChange={setScope} />}
    >
      <Read query={parameters} lines={12}>
        {(data) => {
          const held = data.items.filter((one) => one.held?.scope === data.scope);
          return (
            <>
              <Headline of={data} />
              <Panel
                title={`In force for ${scopeName(data.scope)}`}
                flush
                aside={
                  <>
                    <span title={`SHA-256 of the values: ${data.hash}`}>
                      hash <code>{short(data.hash)}</code>
                    </span>
                    {held.length > 1 && (
                      <Button size="xs" variant="default" onClick={() => setAsked({ what: "lift", names: null })}>
                        Lift all
                      </Button>
                    )}
                    <Button size="xs" variant="default" disabled={!data.own} onClick={() => setAsked({ what: "reset" })}>
                      Reset the scope
                    </Button>
                  </>
                }
              >
                <ParameterTable
                  of={data}
                  onHold={(name) => setAsked({ what: "hold", name })}
                  onLift={(name) => setAsked({ what: "lift", names: [name] })}
                />
              </Panel>
              {asked?.what === "hold" && <HoldDialog scope={data.scope} parameters={data.items} first={asked.name} onClose={done} />}
              {asked?.what === "lift" && (
                <ChangeDialog title="Lift what is held" verb="Lift" change={(reason) => lift(data.scope, asked.names, reason)} onClose={done}>
                  <p>
                    {(asked.names ?? held.map((one) => one.name)).join(", ")} will no longer be held for {scopeName(data.scope)}: the
                    version underneath decides again.
                  </p>
                </ChangeDialog>
              )}
              {asked?.what === "reset" && (
                <ChangeDialog
                  title={`Reset ${scopeName(data.scope)}`}
                  verb="Reset"
                  danger
                  change={(reason) => ({ action: "reset", change: { scope: data.scope, expected: data.version, reason } })}
                  onClose={done}
                >
                  <p>
                    {data.scope === "global"
                      ? "The defaults come into force. What is held by hand stays held."
                      : "It gives up parameters of its own and takes the global ones. What is held by hand stays held."}
                  </p>
                </ChangeDialog>
              )}
            </>
          );
        }}
      </Read>
    </View>
  );
}

function lift(scope: string, names: string[] | null, reason: string): Change {
  return { action: "lift", change: { scope, names: names as ["costCapBps"] | null, reason } };
}

function Headline({ of }: { of: InForce }) {
  const held = of.items.filter((one) => one.held !== null).length;
  const moved = of.items.filter((one) => one.difference !== 0).length;
  return (
    <Figures>
      <Figure
        name="Version"
        value={capitalized(versionName(of.version))}
        below={of.own ? "of this scope" : of.version === 0 ? "nothing was ever changed here" : `comes from ${scopeName(of.comes_from)}`}
      />
      <Figure name="In force since" value={of.since === null ? "–" : <Moment at={of.since} hint={false} />} below={of.actor === null ? undefined : `${of.kind ?? "made"} by ${of.actor}: ${of.reason ?? ""}`} />
      <Figure name="Off their default" value={moved} unit={`of ${of.items.length}`} />
      <Figure name="Held by hand" value={held} below={held === 0 ? "training may move all" : `${counted(held, "value")} that training cannot move`} />
    </Figures>
  );
}
