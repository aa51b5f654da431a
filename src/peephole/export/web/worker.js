// The worker of peephole.js.
import { serve } from "./api.js";

serve(self);
