import { Link } from "wouter";

import { Empty } from "../parts/Empty";
import { View } from "../parts/View";

/** An address that names no view. */
export function Nowhere() {
  return (
    <View title="Not here">
      <Empty title="This address names no view.">
        <Link href="/">To the overview</Link>
      </Empty>
    </View>
  );
}
