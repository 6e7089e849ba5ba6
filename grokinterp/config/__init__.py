"""RunConfig, the full configuration of a training run, and its parts."""

from grokinterp.checked import change as change
from grokinterp.checked import from_dict as from_dict
from grokinterp.checked import to_dict as to_dict
from grokinterp.config.data import Curriculum as Curriculum
from grokinterp.config.data import SplitConfig as SplitConfig
from grokinterp.config.data import TaskConfig as TaskConfig
from grokinterp.config.optim import LossConfig as LossConfig
from grokinterp.config.optim import OptimConfig as OptimConfig
from grokinterp.config.optim import RegularizationConfig as RegularizationConfig
from grokinterp.config.optim import Schedule as Schedule
from grokinterp.config.run import RunConfig as RunConfig
from grokinterp.config.run import as_run_config as as_run_config
from grokinterp.config.run import as_run_configs as as_run_configs
from grokinterp.config.run import check_device as check_device
