"""What has a timer or a life: started and stopped with the process."""
