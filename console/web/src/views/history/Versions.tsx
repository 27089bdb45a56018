import { Button } from "@mantine/core";
import { useInfiniteQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";

import { versionsQuery } from "../../api/queries";
import type { VersionRow } from "../../api/types";
import { ChangeDialog } from "../../changes/ChangeDialog";
import { scopeName, short, versionName } from "../../format/names";
import { plain } from "../../format/numbers";
import { Empty } from "../../parts/Empty";
import { Moment } from "../../parts/Moment";
import { More } from "../../parts/More";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { Table, Words } from "../../parts/Table";
import { Tag } from "../../parts/Tag";
import { Compare } from "./Compare";
import styles from "./History.module.css";

/** Versions, two of which can be compared and each of which can be put into force again. */
export function Versions({ scope }: { scope: string | null }) {
  const versions = useInfiniteQuery(versionsQuery(scope));
  return (
    <Read query={versions} lines={8}>
      {({ pages }) => {
        const rows = pages.flatMap((page) => page.items);
        if (rows.length === 0) {
          return (
            <Empty title="No parameters were put into force yet: the defaults hold.">
              <Link href="/scenarios">Start a training</Link>
            </Empty>
          );
        }
        return (
          <>
            <Compare rows={rows} />
            <Panel title="Versions" flush>
              <Rows rows={rows} first={versions.hasNextPage ? null : (scope ?? "global")} />
              <More query={versions} />
            </Panel>
          </>
        );
      }}
    </Read>
  );
}

/** The versions; where nothing precedes them, the defaults of the scope stand below as what all began with. */
function Rows({ rows, first }: { rows: VersionRow[]; first: string | null }) {
  const [back, setBack] = useState<{ scope: string; version: number; expected: number } | null>(null);
  const standing = (scope: string) => rows.find((row) => row.scope === scope && row.in_force)?.version;
  return (
    <>
      <Table label="Versions" columns={["version", "scope", "what", "when (UTC)", "who and why", "changes", "go back"]}>
        {rows.map((row) => (
          <tr key={row.version}>
            <th scope="row" className="number">
              {versionName(row.version)} {row.in_force && <Tag tone="good">in force</Tag>}
            </th>
            <td>{scopeName(row.scope)}</td>
            <td>
              {row.kind}
              {row.inherits && <p className="muted small">takes the wider ones</p>}
              {row.session !== null && (
                <p className="small">
                  <Link href={`/training/${row.session}`}>session {short(row.session)}</Link>
                </p>
              )}
            </td>
            <td>
              <Moment at={row.at} />
            </td>
            <Words className={styles.why}>
              {row.actor}: {row.reason}
            </Words>
            <Words className={styles.changes}>
              <Changes of={row} />
            </Words>
            <td>
              <Button
                size="compact-xs"
                variant="default"
                disabled={row.in_force}
                aria-label={`Roll back to version ${row.version}`}
                onClick={() => setBack({ scope: row.scope, version: row.version, expected: standing(row.scope) ?? row.version })}
              >
                Roll back to it
              </Button>
            </td>
          </tr>
        ))}
        {first !== null && (
          <tr>
            <th scope="row">{versionName(0)}</th>
            <td>{scopeName(first)}</td>
            <td colSpan={4} className="muted">
              in force before anything was changed
            </td>
            <td>
              <Button
                size="compact-xs"
                variant="default"
                disabled={standing(first) === undefined}
                aria-label="Roll back to the defaults"
                onClick={() => setBack({ scope: first, version: 0, expected: standing(first) ?? 0 })}
              >
                Roll back to them
              </Button>
            </td>
          </tr>
        )}
      </Table>
      {back !== null && (
        <ChangeDialog
          title={`Roll back ${scopeName(back.scope)} to ${versionName(back.version)}`}
          verb="Roll back"
          danger
          change={(reason) => ({ action: "rollback", change: { ...back, reason } })}
          onClose={() => setBack(null)}
        >
          <p>Its parameters come into force again as a new version. What is held by hand stays held.</p>
        </ChangeDialog>
      )}
    </>
  );
}

function Changes({ of }: { of: VersionRow }) {
  const changes = Object.entries(of.changes);
  if (changes.length === 0) return <span className="muted">none</span>;
  return changes.map(([name, [before, after]]) => (
    <div key={name} className="number">
      {name} {plain(before ?? 0)} → <strong>{plain(after ?? 0)}</strong>
    </div>
  ));
}
