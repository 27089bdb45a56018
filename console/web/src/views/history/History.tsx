import { SegmentedControl } from "@mantine/core";
import { useState } from "react";

import { ScopeSelect } from "../../parts/ScopeSelect";
import { View } from "../../parts/View";
import styles from "./History.module.css";
import { Holds } from "./Holds";
import { Trail } from "./Trail";
import { Verify } from "./Verify";
import { Versions } from "./Versions";

/** Versions to compare and to go back to, what is held, and the audit trail. */
export default function History() {
  const [part, setPart] = useState("versions");
  const [scope, setScope] = useState("");
  const of = scope === "" ? null : scope;
  return (
    <View
      title="History and audit"
      about="Every change with who, why, before and after, chained by hashes."
      actions={<ScopeSelect value={scope} onChange={setScope} all="all scopes" />}
    >
      <Verify />
      <SegmentedControl
        className={styles.parts ?? ""}
        aria-label="Part of the history"
        value={part}
        onChange={setPart}
        data={[
          { value: "versions", label: "Versions" },
          { value: "trail", label: "Audit trail" },
          { value: "holds", label: "Held values" },
        ]}
      />
      {part === "versions" && <Versions scope={of} key={scope} />}
      {part === "trail" && <Trail scope={of} key={scope} />}
      {part === "holds" && <Holds scope={of} />}
    </View>
  );
}
