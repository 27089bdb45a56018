import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useLocation } from "wouter";

import { performanceQuery, symbolsQuery } from "../../api/queries";
import { addressed } from "../../format/names";
import { utcDate } from "../../format/times";
import { Empty } from "../../parts/Empty";
import { Panel } from "../../parts/Panel";
import { Read } from "../../parts/Read";
import { View } from "../../parts/View";
import { ByVersion } from "./ByVersion";
import { Calibration } from "./Calibration";
import { Decisions } from "./Decisions";
import { DrawdownChart } from "./DrawdownChart";
import { EquityChart } from "./EquityChart";
import { Estimates } from "./Estimates";

/** What the live algorithm decided and earned, on one symbol or on all. */
export default function Performance({ address }: { address: string }) {
  const [, go] = useLocation();
  const symbols = useQuery(symbolsQuery).data?.items ?? [];
  const performance = useQuery(performanceQuery(address));
  const symbol = symbols.find((one) => addressed(one.symbol) === address)?.symbol ?? null;
  return (
    <View
      title="Decisions and performance"
      about="The paper account of the live algorithm, net of fees, slippage and funding."
      actions={
        <NativeSelect
          label="Symbol"
          value={address}
          onChange={(event) => go(`/performance/${event.currentTarget.value}`)}
          data={[{ value: "all", label: "all as one account" }, ...symbols.map((one) => ({ value: addressed(one.symbol), label: one.symbol }))]}
        />
      }
    >
      <Read query={performance} lines={10}>
        {({ equity, figures, calibration, versions, start, end, missing }) =>
          equity.length === 0 ? (
            <Empty title="There is no account yet." missing={missing} />
          ) : (
            <>
              <Estimates of={figures} />
              <div className="columns">
                <Panel title="Equity" aside={start !== null && end !== null && `${utcDate(start)} to ${utcDate(end)}, start = 1`}>
                  <EquityChart points={equity} height={230} />
                </Panel>
                <Panel title="Drawdown" aside="fall from the high">
                  <DrawdownChart points={equity} />
                </Panel>
              </div>
              <div className="columns">
                <Panel title="Calibration of confidence" aside={`${calibration.trades} closed trades`}>
                  <Calibration of={calibration} />
                </Panel>
                <Panel title="By version of the parameters" flush>
                  <ByVersion rows={versions} />
                </Panel>
              </div>
            </>
          )
        }
      </Read>
      {(address === "all" || symbol !== null) && <Decisions symbol={symbol} key={address} />}
    </View>
  );
}
