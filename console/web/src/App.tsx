import { createTheme, MantineProvider } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { Route, Switch } from "wouter";

import { problemOf } from "./api/problem";
import { Shell } from "./layout/Shell";
import { Waiting } from "./parts/Waiting";
import { Nowhere } from "./views/Nowhere";
import { Overview } from "./views/overview/Overview";

const Scenarios = lazy(() => import("./views/scenarios/Scenarios"));
const Training = lazy(() => import("./views/training/Training"));
const Parameters = lazy(() => import("./views/parameters/Parameters"));
const Performance = lazy(() => import("./views/performance/Performance"));
const Experiments = lazy(() => import("./views/experiments/Experiments"));
const History = lazy(() => import("./views/history/History"));

const theme = createTheme({ respectReducedMotion: true, cursorType: "pointer" });

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      // The event stream says when something has become old.
      staleTime: 30_000,
      retry: (failures, error) => problemOf(error).passing && failures < 2,
    },
    mutations: { retry: (failures, error) => problemOf(error).status === 0 && failures < 1 },
  },
});

export function App() {
  return (
    // The policy of the page forbids style elements, so that all of Mantine's styles are in files.
    <MantineProvider theme={theme} defaultColorScheme="auto" withCssVariables={false} withGlobalClasses={false}>
      <QueryClientProvider client={queries}>
        <Shell>
          <Suspense fallback={<Waiting lines={6} />}>
            <Switch>
              <Route path="/" component={Overview} />
              <Route path="/scenarios" component={Scenarios} />
              <Route path="/training/:session?">{({ session }) => <Training session={session ?? null} />}</Route>
              <Route path="/parameters" component={Parameters} />
              <Route path="/performance/:symbol?">{({ symbol }) => <Performance address={symbol ?? "all"} />}</Route>
              <Route path="/experiments/:id?">{({ id }) => <Experiments id={id ?? null} />}</Route>
              <Route path="/history" component={History} />
              <Route component={Nowhere} />
            </Switch>
          </Suspense>
        </Shell>
      </QueryClientProvider>
    </MantineProvider>
  );
}
